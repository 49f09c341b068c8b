// What a page does, with all the logins of the browser, to the addresses that it is given: it asks,
// sends, listens and shows. It returns what it has got.
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
