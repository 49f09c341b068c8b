// The proxy handles all requests of a connection at once, and opens a connection to the hub for each. Thousands of requests that
// somebody sends without waiting for the answers would hold up everybody. No browser does that, so here it ends the connection.
//
// And the proxy's library reads an answer to a request for a WebSocket faster than its reader does, and keeps the rest in memory.
//
// start-proxy loads this file. The proxy does not start if a function that is replaced here is missing.
"use strict";

const library = "/opt/jupyterhub/node_modules/http-proxy-3/dist/lib/http-proxy/passes";
const { WEB_PASSES } = require(`${library}/web-incoming.js`);
const { WS_PASSES } = require(`${library}/ws-incoming.js`);
const { timeout } = WEB_PASSES;
const { stream } = WS_PASSES;
if (!timeout || !stream) throw new Error("pace.cjs: http-proxy-3 has no timeout, or no stream");

WEB_PASSES.timeout = (request, response, ...others) => {
  if (response.socket) return timeout(request, response, ...others);
  request.socket.destroy(); // an earlier request of this connection has no answer yet
  return true;
};

WS_PASSES.stream = (request, socket, options, head, server, ...others) => {
  server.once("proxyReqWs", (asks) => {
    socket.once("close", () => asks.destroy());
    asks.once("response", (answer) =>
      answer.on("data", () => {
        if (!socket.writableNeedDrain) return;
        answer.pause();
        socket.once("drain", () => answer.resume());
      }),
    );
  });
  return stream(request, socket, options, head, server, ...others);
};
