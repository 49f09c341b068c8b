// Warns in JupyterLab before the server's job reaches its time limit, and before an unused kernel is stopped. job.sh writes both times into the
// page's configuration.
// JupyterLab loads containers of webpack's module federation. This one is written by hand, so there is nothing to build.
const WARN = 10 * 60 * 1000; // milliseconds before the end
const LOOK = 15 * 1000; // milliseconds between two checks; a laptop that slept checks again soon

// For profiles that stop unused kernels. These requests also show the server that the page is open: a hidden page sends no others.
function watchKernels(notify, { baseUrl, idleSeconds }) {
  const idle = idleSeconds * 1000;
  const warned = new Set();
  const look = async () => {
    const [, token] = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/) ?? [];
    const headers = token ? { "X-XSRFToken": token } : {};
    const answer = await fetch(`${baseUrl}api/sessions`, { headers }).catch(() => ({ ok: false })); // a laptop that sleeps has no network
    for (const { name, path, kernel } of answer.ok ? await answer.json() : []) {
      const left = Date.parse(kernel.last_activity) + idle - Date.now();
      if (kernel.connections || kernel.execution_state === "busy") {
        warned.delete(kernel.id);
      } else if (left < Math.min(WARN, idle / 2) && !warned.has(kernel.id)) {
        warned.add(kernel.id);
        notify(
          `No page shows ${name || path}: its kernel is stopped in ${Math.max(1, Math.round(left / 60000))} min, ` +
            "and its variables are gone. Open it to keep it.",
        ); // JupyterLab cuts a text after 140 characters
      }
    }
  };
  setInterval(look, Math.min(60000, idle / 4));
}

const plugin = {
  id: "jupyterhub-time-limit:plugin",
  autoStart: true,
  activate: app => {
    const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
    const notify = message =>
      app.commands.execute("apputils:notify", {
        message,
        type: "warning",
        options: { autoClose: false },
      });
    if (Number(config.idleSeconds)) app.restored.then(() => watchKernels(notify, config));
    const ends = Number(config.jobEnds) * 1000;
    if (!ends) return;
    const look = () => {
      const left = ends - Date.now();
      if (left > WARN) return;
      clearInterval(timer);
      const time = new Date(ends).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      notify(
        `This server ends at ${time}, in ${Math.max(1, Math.round(left / 60000))} min: its time is up then. ` +
          "Save your files. Variables will be gone.",
      );
    };
    let timer; // it starts when the window is ready, so that a slow page does not warn twice
    app.restored.then(() => {
      timer = setInterval(look, LOOK);
      look();
    });
  },
};

window._JUPYTERLAB ??= {};
window._JUPYTERLAB["jupyterhub-time-limit"] = {
  init() {},
  get: async () => () => ({ __esModule: true, default: plugin }),
};
