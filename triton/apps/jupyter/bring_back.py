import pickle

with open("results.pkl", "rb") as file:
    saved = pickle.load(file)
model, scores = saved["model"], saved["scores"]
