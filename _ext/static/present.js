// For who shows a notebook to a room: P makes the text large and takes the rest away, and each exercise has a timer.
"use strict";

const page = document.documentElement;

function present(on) {
  page.classList.toggle("presented", on);
  button.setAttribute("aria-pressed", on);
  try {
    sessionStorage.presented = on ? "yes" : "";
  } catch {
    /* a private window forgets it */
  }
}

const button = document.createElement("button");
button.type = "button";
button.className = "present";
button.textContent = "Present";
button.title = "Large text for a room. Key: P";
button.addEventListener("click", () => present(!page.classList.contains("presented")));
document.querySelector(".notebook-facts").append(" ", button);
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

// A press starts the timer, another holds it, and once it is up, sets it back.
for (const line of document.querySelectorAll("p.minutes")) {
  const minutes = parseInt(line.textContent, 10),
    timer = document.createElement("button"),
    said = document.createElement("span");
  let left = minutes * 60,
    ends = 0,
    ticking;

  function tell(text) {
    timer.textContent = left > 0 ? shown(left) : "Time is up";
    timer.classList.toggle("up", left === 0);
    if (text !== undefined) said.textContent = text;
  }

  function hold() {
    clearInterval(ticking);
    ticking = undefined;
  }

  timer.type = "button";
  timer.className = "timer";
  timer.setAttribute("aria-label", `Timer of ${minutes} minutes: start or hold`);
  said.className = "heard";
  said.setAttribute("role", "status");
  timer.addEventListener("click", () => {
    if (ticking) {
      hold();
      tell("held");
      return;
    }
    if (left === 0) {
      left = minutes * 60;
      tell("");
      return;
    }
    ends = Date.now() + left * 1000; // a tab in the background ticks late
    ticking = setInterval(() => {
      left = Math.max(0, Math.round((ends - Date.now()) / 1000));
      if (left === 0) hold();
      tell(left === 0 ? "Time is up" : undefined);
    }, 250);
    tell("runs");
  });
  line.append(" ", timer, said);
  tell();
}
