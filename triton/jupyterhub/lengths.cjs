// The proxy's library removes the header "Transfer-Encoding" of a DELETE or OPTIONS, but sends the body.
// The hub or a server would read such a body as the next request of the same connection, and the end
// of the body as the beginning of somebody else's request.
//
// start-proxy loads this file. The proxy does not start if the function that is replaced here is missing.
"use strict";

const { WEB_PASSES } = require("/opt/jupyterhub/node_modules/http-proxy-3/dist/lib/http-proxy/passes/web-incoming.js");

if (!WEB_PASSES.deleteLength) throw new Error("lengths.cjs: http-proxy-3 has no deleteLength");
WEB_PASSES.deleteLength = ({ method, headers }) => {
  if (["DELETE", "OPTIONS"].includes(method) && !headers["transfer-encoding"]) headers["content-length"] ??= "0";
};
