# %% tags=["parameters"]
town = "Helsinki"

# %%
latitudes = {"Helsinki": 60.2, "Oulu": 65.0, "Utsjoki": 69.9}
print(f"Looking for {town}")

# %%
print(f"{town} is at {latitudes[town]} degrees north")
