// Data may come in tiny pieces, each a record of TLS or a chunk of HTTP: ten thousand of them in 64 kB. The proxy would work on each, and
// read on from the same connection meanwhile. Some connections that do this would hold up everybody, and use up the proxy's memory.
// So here the pieces that came at once become one, and a connection is read again when that one has been handed on. Connections whose
// data takes long wait for each other, and for nobody else does their number matter.
//
// start-proxy loads this file. The proxy does not start if a function that is replaced here is missing.
"use strict";

const https = require("node:https");
const { IncomingMessage } = require("node:http");
const { Readable } = require("node:stream");
const { TLSSocket } = require("node:tls");

// bytes
const SMALL = 1024; // a larger piece of a body is handed on as it is
const AT_ONCE = 16384; // so much of what has come is handed on
// milliseconds
const ARRIVES = 0.005; // what each piece has taken before it is here
const TURN = 10; // after so long the proxy looks for what else has come
const LONG = 5; // a connection whose data takes longer is slow
const LONGEST = 20; // what is counted at most: anything may be slow once
const { push } = Readable.prototype;
const { _read } = TLSSocket.prototype;
const { createServer } = https;
if (!push || !_read || !createServer) throw new Error("pieces.cjs: Node.js has no push, _read or createServer");

const joined = (pieces) => (pieces.length > 1 ? Buffer.concat(pieces) : pieces[0]);

// ---------------------------------------------------------------- connections

const pieces = Symbol("what has come"); // the last is null at the end of the connection
const spent = Symbol("the milliseconds that its data has taken lately");
const quick = [];
const slow = [];
let turn;

const wait = (socket) => {
  (socket[spent] > LONG ? slow : quick).push(socket);
  turn ??= setImmediate(handOnSome);
};

TLSSocket.prototype.push = function (piece) {
  if (!this[pieces]) {
    this[pieces] = [];
    wait(this);
  }
  this[pieces].push(piece);
  return false; // "stop reading"
};

TLSSocket.prototype._read = function (size) {
  if (!this[pieces]) _read.call(this, size);
};

function handOnSome() {
  turn = undefined;
  let took = 0;
  try {
    while (quick.length && took < TURN) took += handOn(quick.shift());
    if (slow.length) handOn(slow.shift());
  } finally {
    if (quick.length || slow.length) turn ??= setImmediate(handOnSome);
  }
}

// Returns the milliseconds that it took.
function handOn(socket) {
  const began = performance.now();
  const come = socket[pieces];
  const number = come.length;
  const ends = come.at(-1) === null && come.pop() === null;
  const data = number > ends ? joined(come) : Buffer.alloc(0);
  const isMore = data.length > AT_ONCE && !socket.destroyed;
  socket[pieces] = isMore ? [data.subarray(AT_ONCE), ...(ends ? [null] : [])] : undefined;
  let took;
  try {
    if (data.length && !socket.destroyed) push.call(socket, data.subarray(0, AT_ONCE));
    if (ends && !isMore && !socket.destroyed) {
      push.call(socket, null);
      socket.read(0); // without a reader, nobody would learn of the end
    }
  } finally {
    took = performance.now() - began + number * ARRIVES;
    socket[spent] = Math.max(Math.min(took, LONGEST), (socket[spent] ?? 0) * 0.75);
    if (isMore) wait(socket);
  }
  return took;
}

// Otherwise the parser of HTTP takes what a reader sends by itself.
https.createServer = (...words) =>
  createServer(...words).on("secureConnection", (socket) => socket.on("data", () => {}));

// ---------------------------------------------------------------- bodies of requests and answers

IncomingMessage.prototype.push = function (piece) {
  if (piece !== null && (this[pieces] || piece.length < SMALL)) {
    if (!this[pieces]) process.nextTick(handOnBody, this);
    (this[pieces] ??= []).push(piece);
    return true;
  }
  handOnBody(this);
  return push.call(this, piece);
};

function handOnBody(message) {
  const come = message[pieces];
  message[pieces] = undefined;
  if (come) push.call(message, joined(come));
}
