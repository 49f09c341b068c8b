// Returns the faults of the slide that is visible now; smallest: the minimum size of letters in pixels.
({ smallest }) => {
  const slide = Reveal.getCurrentSlide();
  const scale = Reveal.getScale();
  const box = slide.getBoundingClientRect();
  const wrong = [];
  const inside = one =>
    one.left >= 0 && one.top >= 0 && one.right <= innerWidth + 1 && one.bottom <= innerHeight + 1;
  if (!inside(box)) wrong.push("it is not in the window");
  if (box.width * box.height <= (innerWidth * innerHeight) / 2) {
    const size = `${Math.round(box.width)} x ${Math.round(box.height)}`;
    wrong.push(`it takes ${size} of the window`);
  }
  let letters = 0;
  for (const element of slide.querySelectorAll("h1, h2, h3, p, li, td, pre, img, math")) {
    if (element.closest("aside")) continue;
    const place = element.getBoundingClientRect();
    const what = `<${element.localName}> ${element.textContent.trim().slice(0, 40)}`;
    const size = parseFloat(getComputedStyle(element).fontSize) * scale;
    const scrolls = element.scrollWidth > element.clientWidth + 1;
    const top = document.elementFromPoint(place.left + 8, place.top + place.height / 2);
    if (!inside(place)) wrong.push(`${what} is cut off`);
    if (scrolls && element.localName === "pre") wrong.push(`${what} scrolls`);
    if (size < smallest) wrong.push(`${what} is too small to read`);
    if (slide.contains(top)) letters += element.innerText?.trim().length ?? 0;
  }
  if (letters < 10) wrong.push("nobody sees text on it");
  return wrong;
};
