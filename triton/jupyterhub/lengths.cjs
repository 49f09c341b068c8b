// The proxy's library takes away the "Transfer-Encoding" of a DELETE or OPTIONS, and sends the body
// nevertheless. Whoever gets it, the hub or a server, would take such a body for the next request of
// the same connection, and its last words for the beginning of what somebody else sends next.
//
// The proxy starts with this file (start-proxy), and does not without what is changed here.
"use strict";

const { WEB_PASSES } = require("/opt/jupyterhub/node_modules/http-proxy-3/dist/lib/http-proxy/passes/web-incoming.js");

if (!WEB_PASSES.deleteLength) throw new Error("lengths.cjs: http-proxy-3 has no deleteLength");
WEB_PASSES.deleteLength = ({ method, headers }) => {
  if (["DELETE", "OPTIONS"].includes(method) && !headers["transfer-encoding"]) headers["content-length"] ??= "0";
};
