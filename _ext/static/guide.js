// Menu, colours, report and search. Without JavaScript all pages can still be read and found.
"use strict";

// The menu and the sections of the page, on a small screen.
for (const button of document.querySelectorAll("button[aria-controls]"))
  button.addEventListener("click", () =>
    button.setAttribute("aria-expanded", button.getAttribute("aria-expanded") === "false"),
  );

// Light and dark: as in the system's settings, until the reader presses the button.
document.getElementById("colours").addEventListener("click", () => {
  const root = document.documentElement;
  const dark =
    getComputedStyle(root).getPropertyValue("color-scheme").trim() === "dark" ||
    (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.theme = root.dataset.theme;
  } catch {
    /* a private window may store nothing */
  }
});

// A report by "Was this page right?" names the section at which the reader stayed longest. Nothing is sent without a report.
const looked = new Map();
const sections = [...document.querySelectorAll("main section[id]")];
const here = () =>
  sections.findLast(section => section.getBoundingClientRect().top < innerHeight / 4);
setInterval(() => {
  const id = here()?.id;
  if (id && !document.hidden) looked.set(id, (looked.get(id) ?? 0) + 1);
}, 500);
document.getElementById("report")?.addEventListener(
  "click",
  event => {
    const [longest] = [...looked].reduce(
      (one, other) => (other[1] > one[1] ? other : one),
      ["", 0],
    );
    if (longest)
      event.currentTarget.href = event.currentTarget.href.replace(
        encodeURIComponent("Page: "),
        encodeURIComponent(`Section: #${longest}\nPage: `),
      );
  },
  { once: true },
);

// The list of sections marks the one that is read.
const entries = [...document.querySelectorAll("#sections a")];
function mark() {
  const id = here()?.id;
  const current = entries.find(link => id && link.hash === `#${id}`) ?? entries[0];
  if (!current || current.hasAttribute("aria-current")) return;
  for (const link of entries) link.removeAttribute("aria-current");
  current.setAttribute("aria-current", "location");
  const list = current.closest(".here");
  list.scrollTop = current.offsetTop - list.clientHeight / 2;
}
addEventListener("scroll", mark, { passive: true });
mark();

// The search. The index and the words are loaded when the reader clicks into the box.
const root = new URL(document.documentElement.dataset.content_root, location);
const box = document.getElementById("q"),
  list = document.getElementById("suggestions");
let loaded;

function load() {
  loaded ??= Promise.all([
    import(new URL("pagefind/pagefind.js", root)).then(async pagefind => {
      // Its worker would load the same program a second time, for searches of a few milliseconds.
      await pagefind.options({ noWorker: true, ranking: { termFrequency: 0.4, pageLength: 0.6 } });
      await pagefind.init();
      return pagefind;
    }),
    fetch(new URL("pagefind/words.json", root))
      .then(answer => answer.json())
      .then(({ words, synonyms, sections }) => ({
        words,
        sections,
        all: [...Object.keys(words), ...Object.keys(synonyms)],
        synonyms: new Map(
          Object.entries(synonyms).flatMap(([word, others]) => [
            [stem(word), others],
            [word, others],
          ]),
        ),
        stems: new Map(Object.keys(words).map(word => [word, stem(word)])),
      })),
  ]);
  return loaded;
}

// The number of letters that are wrong, missing, too many or swapped; Infinity if it is more than `most`.
function distance(one, other, most) {
  if (Math.abs(one.length - other.length) > most) return Infinity;
  if (
    one.length === other.length &&
    one !== other &&
    [...one].sort().join() === [...other].sort().join()
  )
    return 1; // the same letters in another order
  let before = [],
    row = [...Array(other.length + 1).keys()];
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const wrong = one[i - 1] === other[j - 1] ? 0 : 1;
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + wrong);
      if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1])
        next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[other.length] > most ? Infinity : row[other.length];
}

const stem = word => word.replace(/(?<=..)(ing|ers?|ed|es|s|ly|ions?|e|d)$/, "");

// [word to search for, its weight] for a typed word: the guide's words for it, or the word itself and its parts. If the guide does not
// have the word, also the two words that it consists of, and the most similar word.
function known(typed, { words, synonyms, stems }) {
  const word = typed.toLowerCase(),
    root = stem(word);
  const parts = (stems.has(word) ? word : typed.replace(/([a-z])(?=[A-Z])/g, "$1_").toLowerCase())
    .split(/[._]/)
    .filter(part => part.length > 2 && part !== word && !SMALL.has(part));
  const own = [[word.length < 3 ? `"${word}"` : word, 1], ...parts.map(part => [part, 0.5])]; // only the word r, not all words with an r
  const instead = synonyms.get(word) ?? synonyms.get(root);
  if (instead) return [...(stems.has(word) ? own : []), ...instead.map(other => [other, 1])];
  if (word.length < 4 || [...stems.values()].includes(root)) return own;
  for (let place = 3; place < word.length - 2; place++)
    if (stems.has(word.slice(0, place)) && stems.has(word.slice(place)))
      own.push([`"${word.slice(0, place)} ${word.slice(place)}"`, 1]);
  const most = word.length < 6 ? 1 : 2;
  let best,
    fewest = most + 0.5;
  for (const [other, itsRoot] of stems) {
    const ending = root.length > 3 ? distance(root, itsRoot, most) + 0.1 : Infinity;
    const wrong =
      Math.min(distance(word, other, most), ending) - Math.min(0.4, words[other] / 1000);
    if (wrong < fewest) [best, fewest] = [other, wrong];
  }
  return [
    ...(own.length > 1 || [...stems.keys()].some(other => other.startsWith(word)) ? own : []),
    ...(best ? [[best, 0.7]] : []),
  ];
}

const SMALL = new Set(
  (
    "a about after am an and another any anyone are as at be because been being between but by can cannot cant could d did didn didnt " +
    "do does doesn doesnt doing don dont during each every for from get gets has hasn have haven how i if im in inside into is isn isnt it its ive " +
    "just let like ll look looks m may me might my never no not of on one or our please possible quite re really s see should so some still such t " +
    "take takes than that the their them then there they thing this to too up use using ve very via want was way we were what whats when " +
    "where which while who whole why will with within won wont would you your"
  ).split(" "),
);

const AMOUNT = /^([\d.]+|[kmgt]i?b)$/; // how much it is for the reader stands in no section

const MOST = 10, // sections that are shown
  WEAKEST = 0.4; // of the best section's score: a section with less has one of two words, or only similar ones

// The sections with a word, best first. Pagefind finds "r" in quotes, and not each word with an r, but then all scores are alike.
async function sectionsWith(word, pagefind) {
  const { results } = await pagefind.search(word);
  if (!/^"\w+"$/.test(word)) return results;
  const ids = new Set(results.map(({ id }) => id));
  return (await pagefind.search(word.slice(1, -1))).results.filter(({ id }) => ids.has(id));
}

// The results, best first. Each typed word counts once for a section: a rare word counts more than a common one, an amount less.
async function search(question) {
  const [pagefind, language] = await load();
  const cased = (
    question.replace(/(\d)(?=([gmt]i?b|h|hours?|days?|min)\b)/gi, "$1 ").match(/[\w.~%!+-]+/g) ?? []
  ).flatMap(word => (language.stems.has(word.toLowerCase()) ? word : word.split(/(?<=\w)-(?=\w)/)));
  const typed = cased.map(word => word.toLowerCase());
  const meaningful = cased.filter(word => !SMALL.has(word.toLowerCase()));
  const asked = (meaningful.length ? meaningful : cased).map(word =>
    known(word.replace(/^[.~!]+(?=\w)|[.!]+$/g, ""), language),
  );
  const phrase = typed.slice(
    typed.findIndex(word => !SMALL.has(word)),
    typed.findLastIndex(word => !SMALL.has(word)) + 1,
  );
  const words = asked.length;
  if (phrase.length > 1) asked.push([[`"${phrase.join(" ")}"`, 0.5]]); // a section with the whole phrase is likely the answer
  if (phrase.length < typed.length) asked.push([[`"${typed.join(" ")}"`, 1]]); // "what is a node" is more than "node"
  typed.slice(1).forEach((word, place) => {
    const small = SMALL.has(typed[place]); // as in "never programmed", which says less than "disk quota"
    if (!SMALL.has(word)) asked.push([[`"${typed[place]} ${word}"`, small ? 0.15 : 0.3]]);
  });
  const scores = new Map(),
    done = new Set();
  for (const [place, forms] of asked.entries()) {
    const best = new Map();
    for (const [word, counts] of forms.filter(([word]) => !done.has(word))) {
      done.add(word);
      const results = await sectionsWith(word, pagefind);
      const most =
        counts * Math.log(1 + 400 / (1 + results.length)) * (AMOUNT.test(word) ? 0.25 : 1);
      for (const result of results) {
        const score = most * (0.2 + Math.sqrt(result.score / results[0].score));
        if (score > (best.get(result.id)?.score ?? 0)) best.set(result.id, { result, score });
      }
    }
    for (const [id, { result, score }] of best) {
      const { sum = 0, has = 0 } = scores.get(id) ?? {};
      scores.set(id, { result, sum: sum + score, has: has + (place < words) });
    }
  }
  for (const [id, score] of scores) score.sum *= language.sections[id].share;
  const ranked = [...scores.values()].sort((one, other) => other.sum - one.sum);
  const least = words === 2 ? ranked[0]?.has : 0; // two words mean both, if the best section has both
  return ranked
    .filter(({ sum, has }) => has >= least && sum > WEAKEST * ranked[0].sum)
    .slice(0, MOST)
    .map(({ result }) => result);
}

// An excerpt of a section's own text, which stands between two broken bars: before it is the title, behind it what readers call it.
function excerpt(content, locations) {
  const words = content.split(/\s+/),
    first = words.indexOf("\u00a6") + 1,
    end = words.lastIndexOf("\u00a6");
  const hits = locations.filter(place => place >= first && place < end);
  const hit = hits[0] ?? first;
  const sentence =
    words.findLastIndex((word, place) => place < hit && /[.?!\u00a6]$/.test(word)) + 1;
  const whole = hit - sentence < 20;
  const start = whole ? sentence : Math.max(first, hit - 5),
    stop = Math.min(start + 30, end);
  const shown = words.slice(start, stop).flatMap((word, number) => {
    const mark = document.createElement("mark");
    mark.textContent = word;
    return [hits.includes(start + number) ? mark : word, " "];
  });
  return [whole || start === first ? "" : "… ", ...shown, stop < end ? "…" : ""];
}

function linkTo({ address, title }) {
  const link = document.createElement("a");
  link.href = new URL(address, root);
  link.textContent = title;
  return link;
}

async function entry(result) {
  const { meta, content, locations } = await result.data();
  const item = document.createElement("li"),
    link = linkTo(meta),
    page = document.createElement("small"),
    text = document.createElement("p");
  page.textContent = meta.page === meta.title ? "" : meta.page;
  text.append(...excerpt(content, locations));
  link.append(" ", page);
  item.append(link, text);
  return item;
}

// The best section of a page, with links to the others, whose texts are not loaded.
async function group([first, ...others], known) {
  const item = await entry(first),
    list = document.createElement("ul");
  for (const { id } of others) {
    const other = document.createElement("li");
    other.append(linkTo(known[id]));
    list.append(other);
  }
  if (others.length) item.append(list);
  return item;
}

let asking = 0,
  chosen = -1;

function choose(number) {
  const items = [...list.children];
  chosen = Math.max(-1, Math.min(number, items.length - 1));
  for (const [place, item] of items.entries()) item.setAttribute("aria-selected", place === chosen);
  if (chosen < 0) box.removeAttribute("aria-activedescendant");
  else {
    box.setAttribute("aria-activedescendant", items[chosen].id);
    items[chosen].scrollIntoView({ block: "nearest" });
  }
}

function show(items) {
  const kept = list.children[chosen]?.firstChild.href; // the reader may have chosen one before these results came
  items.forEach((item, place) => {
    item.id = `suggestion-${place}`;
    item.setAttribute("role", "option");
    item.firstChild.tabIndex = -1;
  });
  list.replaceChildren(...items);
  list.hidden = !items.length;
  box.setAttribute("aria-expanded", !list.hidden);
  choose(items.findIndex(item => item.firstChild.href === kept));
}

function dismiss() {
  asking++; // ignore the results of searches that still run
  show([]);
}

box.addEventListener("focus", load, { once: true });
box.addEventListener("input", async () => {
  choose(-1);
  const mine = ++asking,
    question = box.value.trim();
  const sections = question.length > 1 ? await search(question) : [];
  const items = await Promise.all(sections.slice(0, 8).map(entry));
  if (mine === asking) show(items);
});
box.addEventListener("keydown", event => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
    event.preventDefault();
  } else if (event.key === "Escape" && !list.hidden) {
    dismiss();
    event.preventDefault(); // keep the question in the box
  } else if (event.key === "Enter" && chosen >= 0) {
    list.children[chosen].firstChild.click();
    event.preventDefault();
  }
});
document.addEventListener("click", event => {
  if (!event.target.closest(".search")) dismiss();
});
document.addEventListener("keydown", event => {
  if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
    box.focus();
    event.preventDefault();
  }
});

// On the page for an address that does not exist: the pages with the most similar addresses or titles.
const likely = document.getElementById("likely");
if (likely) {
  const name = address =>
    address
      .replace(/(\/index)?(\.html?)?\/?$/, "")
      .split("/")
      .pop();
  const wanted = name(location.pathname.toLowerCase());
  const similar = [...document.querySelectorAll("#menu a")]
    .map(link => [
      Math.min(
        ...[name(link.pathname), link.textContent].map(called =>
          distance(wanted, called.toLowerCase(), Infinity),
        ),
      ),
      link,
    ])
    .filter(([wrong]) => wrong <= wanted.length / 2)
    .sort(([one], [other]) => one - other)
    .slice(0, 3);
  for (const [, link] of similar) {
    const item = document.createElement("li");
    item.append(link.cloneNode(true));
    likely.append(item);
  }
  document.getElementById("perhaps").hidden = !similar.length;
}

// Where nothing is found: the known words that look most like the question, each as a search.
async function offer(question) {
  const [, { all }] = await load(),
    most = Math.ceil(question.length / 3);
  const near = all
    .filter(word => /^\w{3,}$/.test(word) && !SMALL.has(word))
    .map(word => [distance(question.toLowerCase(), word, most), word])
    .filter(([wrong]) => wrong <= most)
    .sort(([one], [other]) => one - other)
    .slice(0, 4);
  const place = document.getElementById("nearest");
  place.hidden = !near.length;
  for (const [, word] of near) {
    const link = document.createElement("a");
    link.href = `?q=${encodeURIComponent(word)}`;
    link.textContent = word;
    place.append(" ", link);
  }
}

// The search page.
const results = document.getElementById("results");
if (results) {
  const question = new URLSearchParams(location.search).get("q") ?? "";
  box.value = question;
  results.hidden = !question;
  if (question)
    search(question)
      .then(async sections => {
        document.getElementById("found").textContent = sections.length
          ? `${sections.length} ${sections.length === 1 ? "section" : "sections"} for “${question}”`
          : `Nothing found for “${question}”`;
        document.getElementById("nothing").hidden = sections.length > 0;
        results.hidden = !sections.length;
        if (!sections.length) await offer(question);
        const [, { sections: known }] = await load();
        const pages = Map.groupBy(sections, ({ id }) => known[id].page).values();
        results.append(...(await Promise.all([...pages].map(page => group(page, known)))));
      })
      .catch(
        () =>
          (document.getElementById("found").textContent =
            location.protocol === "file:"
              ? "The search works where a server shows the site, as make serve does, not in files that are opened."
              : "The search could not be loaded. Is the network there?"),
      );
}
