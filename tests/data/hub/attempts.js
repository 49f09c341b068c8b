// Run in a page: read, post to, open a WebSocket to, and show the given addresses, with all logins of
// the browser. Returns the answers.
async ({ read, send, listen, show }) => {
  const answers = [];
  for (const address of read) {
    const answer = await fetch(address, { credentials: "include" }).then(
      answer => answer.text(),
      () => "",
    );
    answers.push(answer);
  }
  for (const [address, body] of send) {
    const options = { method: "POST", credentials: "include", mode: "no-cors", body };
    await fetch(address, options).catch(() => {});
  }
  for (const address of listen)
    answers.push(
      await new Promise(done => {
        const socket = new WebSocket(address);
        socket.onopen = () => done("open");
        socket.onerror = socket.onclose = () => done("");
      }),
    );
  for (const address of show) {
    const frame = document.body.appendChild(document.createElement("iframe"));
    await new Promise(done => {
      frame.onload = done;
      frame.src = address;
    });
  }
  return answers;
};
