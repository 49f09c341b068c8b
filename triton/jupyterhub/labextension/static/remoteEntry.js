// Warns in JupyterLab before the time of the server's job is up. job.sh writes when that is, and why, into the page's configuration.
// A container of webpack's module federation, as JupyterLab loads them, written by hand: there is nothing to build.
const WARN = 10 * 60 * 1000;     // milliseconds before the end
const LOOK = 15 * 1000;          // a laptop that slept looks again soon

const plugin = {
    id: "jupyterhub-time-limit:plugin",
    autoStart: true,
    activate: app => {
        const ends = Number(JSON.parse(document.getElementById("jupyter-config-data").textContent).jobEnds) * 1000;
        if (!ends) return;
        const look = () => {
            const left = ends - Date.now();
            if (left > WARN) return;
            clearInterval(timer);
            const time = new Date(ends).toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
            const message = `This server ends at ${time}, in ${Math.max(1, Math.round(left / 60000))} min: its time is up then. ` +
                            "Save your files. Variables will be gone.";
            app.commands.execute("apputils:notify", {message, type: "warning", options: {autoClose: false}});
        };
        let timer;      // from when the window is there: one that loads slowly is not told twice
        app.restored.then(() => {
            timer = setInterval(look, LOOK);
            look();
        });
    },
};

(window._JUPYTERLAB ??= {})["jupyterhub-time-limit"] = {init() {}, get: async () => () => ({__esModule: true, default: plugin})};
