// One request from a page of the browser. If the browser hides the answer of another origin, the
// status is 0.
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
