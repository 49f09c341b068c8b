// The page of a user can set cookies for all names below the hub's. A browser lets it set none whose name begins with __Host-, as
// those of logins do. But some bytes are a part of the name for browsers, and spaces for Python: with one of them in front, such a
// page could give a reader another login, that of its owner for example. Here only names that HTTP knows go on to hub and servers.
// They are few, since the hub looks at each that is called _xsrf for some time. The session is one that the hub has given: a long one would
// make that cookie too long to be kept.
//
// A server's answer may not remove cookies: a browser would remove those of the whole site. lengths.cjs is loaded later, since the library
// takes its list of functions for answers when it is.
//
// start-proxy loads this file. The proxy does not start if a function that is replaced here is missing.
"use strict";

const library = "/opt/jupyterhub/node_modules/http-proxy-3/dist/lib/http-proxy/passes";
const { OUTGOING_PASSES } = require(`${library}/web-outgoing.js`);
const { removeChunked } = OUTGOING_PASSES;
if (!removeChunked) throw new Error("cookies.cjs: http-proxy-3 has no removeChunked");
OUTGOING_PASSES.removeChunked = (request, response, answer) => {
  delete answer.headers["clear-site-data"];
  removeChunked(request, response, answer);
};

const { WEB_PASSES } = require(`${library}/web-incoming.js`);
const { WS_PASSES } = require(`${library}/ws-incoming.js`);
const MOST = 300; // a browser keeps 180 of a site
const KNOWN = /^[ \t]*[\w!#$%&'*+.^`|~-]+[ \t]*=/;
const NO_SESSION = /^[ \t]*jupyterhub-session-id[ \t]*=(?![ \t]*[0-9a-f]{32}[ \t]*$)/;

for (const passes of [WEB_PASSES, WS_PASSES]) {
  const { XHeaders } = passes;
  if (!XHeaders) throw new Error("cookies.cjs: http-proxy-3 has no XHeaders");
  passes.XHeaders = (request, ...others) => {
    const { headers } = request;
    const known = headers.cookie?.split(";").filter((each) => KNOWN.test(each) && !NO_SESSION.test(each));
    if (known) headers.cookie = known.slice(0, MOST).join(";");
    return XHeaders(request, ...others);
  };
}
