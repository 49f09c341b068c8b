// One request from a page of the browser. The browser does not say what comes from another origin:
// its answer has the status 0 then.
async ([method, address, token, body]) => {
  const headers = { "X-XSRFToken": token, "Content-Type": "application/json" };
  try {
    const answer = await fetch(address, { method, body, headers });
    const text = await answer.text();
    return { status: answer.status, headers: Object.fromEntries(answer.headers), text };
  } catch (error) {
    return { status: 0, headers: {}, text: String(error) };
  }
};
