// For people who show a notebook to a class: P makes the text large and hides the rest, and each exercise has a timer.
"use strict";

const page = document.documentElement;

function present(on) {
  page.classList.toggle("presented", on);
  button.setAttribute("aria-pressed", on);
  try {
    sessionStorage.presented = on ? "yes" : "";
  } catch {
    /* a private window may store nothing */
  }
}

const button = document.createElement("button");
button.type = "button";
button.className = "present";
button.textContent = "Present";
button.title = "Large text for a room. Key: P";
button.addEventListener("click", () => present(!page.classList.contains("presented")));
document.querySelector(".notebook-facts .buttons").append(button);
document.addEventListener("keydown", event => {
  const typing =
    event.target.closest("input, textarea, select, [contenteditable]") ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey;
  if (!typing && event.key.toLowerCase() === "p") present(!page.classList.contains("presented"));
});
try {
  present(sessionStorage.presented === "yes");
} catch {
  present(false);
}

const shown = seconds => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

// A press on the timer starts it or holds it. When the time is up, a press sets it back.
for (const line of document.querySelectorAll("p.minutes")) {
  const minutes = parseInt(line.textContent, 10),
    timer = document.createElement("button"),
    status = document.createElement("span");
  let left = minutes * 60,
    ends = 0,
    ticking;

  function show(text) {
    timer.textContent = left > 0 ? shown(left) : "Time is up";
    timer.classList.toggle("over", left === 0);
    if (text !== undefined) status.textContent = text;
  }

  function hold() {
    clearInterval(ticking);
    ticking = undefined;
  }

  timer.type = "button";
  timer.className = "timer";
  timer.setAttribute("aria-label", `Timer of ${minutes} minutes: start or hold`);
  status.className = "heard";
  status.setAttribute("role", "status");
  timer.addEventListener("click", () => {
    if (ticking) {
      hold();
      show("held");
      return;
    }
    if (left === 0) {
      left = minutes * 60;
      show("");
      return;
    }
    ends = Date.now() + left * 1000; // in a background tab, setInterval runs late
    ticking = setInterval(() => {
      left = Math.max(0, Math.round((ends - Date.now()) / 1000));
      if (left === 0) hold();
      show(left === 0 ? "Time is up" : undefined);
    }, 250);
    show("runs");
  });
  line.append(" ", timer, status);
  show();
}
