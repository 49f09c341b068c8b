import pickle

model, scores = {"slope": 0.5}, [0.8, 0.9]  # what took long
with open("results.pkl", "wb") as file:
    pickle.dump({"model": model, "scores": scores}, file)
