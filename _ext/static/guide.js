// What a page does besides being read. Without scripts all of it can still be read and followed.
"use strict";

// The menu, on a small screen.
const open = document.getElementById("open-menu");
open.addEventListener("click", () => open.setAttribute("aria-expanded", open.getAttribute("aria-expanded") === "false"));

// Light and dark: as the system says, until the reader says otherwise.
document.getElementById("colours").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = getComputedStyle(root).getPropertyValue("color-scheme").trim() === "dark"
        || root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.theme = root.dataset.theme; } catch { /* a private window forgets it */ }
});

// "Was this page right?" says at which section the reader has been the longest. Nobody else hears of it.
const looked = new Map();
setInterval(() => {
    const here = [...document.querySelectorAll("main section[id]")].findLast(section => section.getBoundingClientRect().top < innerHeight / 4);
    if (here && !document.hidden) looked.set(here.id, (looked.get(here.id) ?? 0) + 1);
}, 500);
document.getElementById("report")?.addEventListener("click", event => {
    const [longest] = [...looked].reduce((one, other) => other[1] > one[1] ? other : one, ["", 0]);
    if (longest) event.currentTarget.href = event.currentTarget.href.replace(encodeURIComponent("Page: "), encodeURIComponent(`Section: #${longest}\nPage: `));
}, {once: true});

// The search. Index and words are loaded when the reader goes to the box.
const root = new URL(document.documentElement.dataset.content_root, location);
const box = document.getElementById("q"), list = document.getElementById("suggestions");
let loaded;

function load() {
    loaded ??= Promise.all([
        import(new URL("pagefind/pagefind.js", root)).then(async pagefind => {
            // Without its worker, which would load the same program a second time for searches of a few milliseconds.
            await pagefind.options({noWorker: true, ranking: {termFrequency: 0.4, pageLength: 0.6}});
            await pagefind.init();
            return pagefind;
        }),
        fetch(new URL("pagefind/words.json", root)).then(answer => answer.json()).then(({words, said}) =>
            ({words, said, stems: new Map(Object.keys(words).map(word => [word, stem(word)]))})),
    ]);
    return loaded;
}

// How many letters are wrong, left out, too many or swapped; more than `most` counts as infinitely many.
function distance(one, other, most) {
    if (Math.abs(one.length - other.length) > most) return Infinity;
    if (one.length === other.length && one !== other && [...one].sort().join() === [...other].sort().join()) return 1;     // in another order
    let before = [], row = [...Array(other.length + 1).keys()];
    for (let i = 1; i <= one.length; i++) {
        const next = [i];
        for (let j = 1; j <= other.length; j++) {
            const wrong = one[i - 1] === other[j - 1] ? 0 : 1;
            next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + wrong);
            if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) next[j] = Math.min(next[j], before[j - 2] + 1);
        }
        [before, row] = [row, next];
    }
    return row[other.length] > most ? Infinity : row[other.length];
}

const stem = word => word.replace(/(?<=..)(ing|ers?|ed|es|s|ly|ions?|e|d)$/, "");

// The words to look for, and how much each counts: what the guide says instead; else the word itself, or its beginning, or another form
// of it; and where it stands nowhere as it is, what it may be a misspelling of.
function known(word, {words, said, stems}) {
    const own = [[word, 1]], root = stem(word);
    if (said[word]) return [...words[word] ? own : [], ...said[word].map(other => [other, 1])];
    if (word.length < 4 || [...stems.values()].includes(root)) return own;
    const most = word.length < 6 ? 1 : 2;
    let best, fewest = most + 0.5;
    for (const [other, itsRoot] of stems) {
        const ending = root.length > 3 ? distance(root, itsRoot, most) + 0.1 : Infinity;
        const wrong = Math.min(distance(word, other, most), ending) - Math.min(0.4, words[other] / 1000);
        if (wrong < fewest) [best, fewest] = [other, wrong];
    }
    return [...[...stems.keys()].some(other => other.startsWith(word)) ? own : [], ...best ? [[best, 0.7]] : []];
}

const SMALL = new Set(("a an and any are as at be but by can cannot could did do does for from get gets has have how i if in into is isn it " +
    "its like me my no not of on or our should so than that the their them then there they this to too up use using want was we were what " +
    "when where which while who why will with would you your").split(" "));

// Sections, the best first: for each word those that have it count, a rare word more than a common one.
async function search(question) {
    const [pagefind, language] = await load();
    const typed = question.toLowerCase().match(/[\w.~%!+-]+/g) ?? [];
    const told = typed.filter(word => !SMALL.has(word));
    const asked = new Map((told.length ? told : typed).flatMap(word => known(word.replace(/^[.~!]+(?=\w)|[.!]+$/g, ""), language)));
    const scores = new Map();
    if (typed.length > 1) asked.set(`"${typed.join(" ")}"`, 1);    // what stands there word for word is what was meant
    for (const [word, counts] of asked) {
        const {results} = await pagefind.search(word);
        const rare = Math.log(1 + 400 / (1 + results.length));
        const top = results[0]?.score ?? 1;
        for (const result of results) {
            const score = scores.get(result.id) ?? {result, sum: 0};
            score.sum += counts * rare * (0.3 + result.score / top);
            scores.set(result.id, score);
        }
    }
    return [...scores.values()].sort((one, other) => other.sum - one.sum).map(score => score.result);
}

async function entry(result) {
    const {meta, excerpt} = await result.data();
    const item = document.createElement("li"), link = document.createElement("a"), page = document.createElement("small"), text = document.createElement("p");
    link.href = new URL(meta.address, root);
    link.textContent = meta.title;
    page.textContent = meta.page === meta.title ? "" : meta.page;
    text.innerHTML = excerpt;       // Pagefind's own: text with <mark>
    link.append(page);
    item.append(link, text);
    return item;
}

let asking = 0, chosen = -1;

function choose(number) {
    const items = [...list.children];
    chosen = Math.max(-1, Math.min(number, items.length - 1));
    items.forEach((item, place) => item.setAttribute("aria-selected", place === chosen));
    if (chosen < 0) box.removeAttribute("aria-activedescendant");
    else {
        box.setAttribute("aria-activedescendant", items[chosen].id);
        items[chosen].scrollIntoView({block: "nearest"});
    }
}

function show(items) {
    const kept = list.children[chosen]?.firstChild.href;     // chosen while these results were on their way
    items.forEach((item, place) => { item.id = `suggestion-${place}`; item.setAttribute("role", "option"); item.firstChild.tabIndex = -1; });
    list.replaceChildren(...items);
    list.hidden = !items.length;
    box.setAttribute("aria-expanded", !list.hidden);
    choose(items.findIndex(item => item.firstChild.href === kept));
}

box.addEventListener("focus", load, {once: true});
box.addEventListener("input", async () => {
    choose(-1);
    const mine = ++asking, question = box.value.trim();
    const found = question.length > 1 ? await search(question) : [];
    const items = await Promise.all(found.slice(0, 8).map(entry));
    if (mine === asking) show(items);
});
box.addEventListener("keydown", event => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
        event.preventDefault();
    } else if (event.key === "Escape" && !list.hidden) {
        show([]);
        event.preventDefault();     // the question stays
    } else if (event.key === "Enter" && chosen >= 0) {
        list.children[chosen].firstChild.click();
        event.preventDefault();
    }
});
document.addEventListener("click", event => { if (!event.target.closest(".search")) show([]); });
document.addEventListener("keydown", event => {
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
        box.focus();
        event.preventDefault();
    }
});

// The page of the search.
const results = document.getElementById("results");
if (results) {
    const question = new URLSearchParams(location.search).get("q") ?? "";
    box.value = question;
    if (question) search(question).then(found => {
        document.getElementById("found").textContent = found.length ? `${found.length} sections for “${question}”` : `Nothing found for “${question}”`;
        const more = document.getElementById("more");
        async function add() {
            const items = await Promise.all(found.splice(0, 8).map(entry));
            results.append(...items);
            more.hidden = !found.length;
            return items[0];
        }
        more.addEventListener("click", async () => (await add()).firstChild.focus());
        add();
    });
}
