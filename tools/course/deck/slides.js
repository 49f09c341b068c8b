// A slide has the shape of the window, a phone's too, and its letters are as large as all of its text allows.
"use strict";

const LARGEST = 36,
  SMALLEST = 18;

function shape() {
  const ratio = innerWidth / innerHeight;
  return ratio < 1
    ? { width: 600, height: Math.round(600 / ratio) }
    : { width: Math.round(700 * Math.min(ratio, 1.8)), height: 700 };
}

function fit() {
  const slide = Reveal.getCurrentSlide();
  if (!slide) return; // not yet
  for (let size = LARGEST; size >= SMALLEST; size--) {
    slide.style.fontSize = `${size}px`;
    if (slide.scrollHeight <= slide.clientHeight && slide.scrollWidth <= slide.clientWidth) return;
  }
}

Reveal.on("ready", fit);
Reveal.on("slidechanged", fit);
addEventListener("resize", () => {
  Reveal.configure(shape());
  fit();
});
Reveal.initialize({
  ...shape(),
  hash: true,
  slideNumber: "c/t",
  center: false,
  display: "flex",
  margin: 0.03,
  scrollActivationWidth: 0,
  plugins: [RevealNotes],
  transition: matchMedia("(prefers-reduced-motion: reduce)").matches ? "none" : "slide",
});
