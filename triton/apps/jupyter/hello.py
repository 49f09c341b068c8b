import marimo

app = marimo.App()


@app.cell
def _():
    print("Hello from the job")
    return


if __name__ == "__main__":
    app.run()
