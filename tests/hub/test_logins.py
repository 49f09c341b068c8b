"""Whoever guesses passwords at the hub has to wait, and delays nobody else.

The tests send the requests of a browser.
"""

import json
import re
import subprocess
import time
from contextlib import closing

import pytest

from tools.cluster import cluster, hub
from tools.cluster.hub import HUB, SERVERS, TINY, Refused
from tools.cluster.hub_faults import OPTIONS, alive, is_ready, within
from tools.cluster.small_triton import PROMPTS
from tools.cluster.terminal import Terminal
from tools.files import ROOT

FACTS = cluster.facts()
LOGINS = (ROOT / "tests/data/hub/logins.py").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def logins(triton):
    """logins(host, (name, password, headers), ...) tries all at once and returns [(status, seconds,
    text of the page, seconds to wait)].
    """
    hub.running(triton)

    def attempt(host, *forms):
        triton.write(host, "/tmp/logins.py", LOGINS)
        forms = [[name, password, *(headers or [{}])] for name, password, *headers in forms]
        command = f"/usr/bin/python3 /tmp/logins.py {HUB}"
        return json.loads(triton.run(host, command, input=json.dumps(forms), timeout=200).stdout)

    return attempt


def right(triton, user):
    return user, triton.password(user)


@pytest.mark.claims("nobody else is held up,")
@pytest.mark.parametrize(("names", "host"), [(1, "laptop"), (40, "gateway")])
def test_forty_wrong_passwords_at_once_hold_up_nobody(triton, logins, names, host, record_property):
    """Meanwhile another person with a right password can log in from the same address.

    Ten passwords for one name reach PAM. The page says when to try again.
    """
    guessed, other = triton.account(), triton.account()
    tried = [f"{guessed}{number}" if number < names - 1 else guessed for number in range(40)]
    guesses = [(name, "wrong") for name in tried]
    *wrong, late = logins(host, *guesses, right(triton, other))
    assert late[0] == 302 and late[1] < 10, late
    answers = sorted((status, text) for status, _, text, _ in wrong)
    heard = 10 if names == 1 else 40
    refused = (403, "Invalid username or password")
    waits = (429, "Too many wrong passwords. Try again in 5 minutes.")
    assert answers == [refused] * heard + [waits] * (40 - heard)
    record_property(
        "measured",
        f"40 wrong passwords at once, for {names} name{'s' * (names > 1)}: a right one of "
        f"somebody else was let in after {late[1]:.1f} s",
    )


@pytest.mark.claims(
    "and the owner of the name can log in elsewhere.",
    "After ten wrong passwords in five minutes you have to wait; the page says how long.",
    "After ten wrong passwords the right one has to wait, too.",
    "Wait for five minutes, and log in at the hub once more.",
)
@pytest.mark.proves("faq-login", [1])
def test_who_guesses_waits_and_the_owner_elsewhere_does_not(triton, logins, entry):
    """For a while, that address cannot log in even with the right password; another address can."""
    user = triton.account()
    logins("laptop", *[(user, "wrong")] * 10)
    [(status, _, text, seconds)] = logins("laptop", right(triton, user))
    assert status == 429 and 200 < int(seconds) <= 300
    entry.shows(text, 1)
    assert logins("login", right(triton, user))[0][0] == 302


@pytest.mark.claims(
    "Try the same name and password with ``ssh``, which says more.",
    "It prints the name of the login node? Your password is right.",
    "It says that your account or your password has expired, or you have forgotten the password?",
    "It says ``Permission denied``? The password is wrong, or you",
)
@pytest.mark.proves("faq-login", [])
def test_ssh_says_more_than_the_hub(triton, entry):
    """It is typed with a password, also where the reader has a key."""
    user = triton.account()
    [command] = entry.commands()
    command = command.replace("username", user)
    words = "ssh -o StrictHostKeyChecking=accept-new -o NumberOfPasswordPrompts=1"

    def types():
        with closing(Terminal(triton, "laptop", user, PROMPTS)) as terminal:
            return "\n".join(terminal.type(command.replace("ssh", words, 1))[0])

    assert types().splitlines()[-1] == FACTS.hosts.login
    for option, ended, open_again in (("--lastday", 0, 20_000), ("--expiredate", 1, -1)):
        triton.run("login", f"chage {option} {ended} {user}")
        assert "expired" in types()
        triton.run("login", f"chage {option} {open_again} {user}")
    triton.run("login", f"passwd --quiet --lock {user}")
    assert "Permission denied" in types()


def test_an_address_that_guesses_for_many_names_waits(triton, logins):
    """People who have logged in from there need not wait: many people may share an address."""
    known, new = triton.account(), triton.account()
    assert logins("c3", right(triton, known))[0][0] == 302
    answers = logins("c3", *[(f"nobody{number}", "wrong") for number in range(70)])
    assert sorted(status for status, *_ in answers) == [403] * 60 + [429] * 10
    answers = logins("c3", right(triton, known), right(triton, new))
    assert [status for status, *_ in answers] == [302, 429]
    assert logins("c4", right(triton, new))[0][0] == 302


def browser_of(triton, host, user):
    """The Cookie header that a browser sends after `user` has logged in there."""
    log_in = (
        "rm -f jar; curl='curl --silent --output /dev/null --cookie-jar jar --cookie "
        f"jar'; $curl {HUB}/hub/login; token=$(awk '/_xsrf/ {{print $7}}' jar); "
        f"$curl --data _xsrf=$token --data username={user} --data "
        f"password={triton.password(user)} {HUB}/hub/login; awk '/-known/ {{print $6 "
        f'"=" $7}}\' jar'
    )
    return {"Cookie": triton.run(host, log_in).stdout.strip()}


def test_who_guesses_at_the_login_node_holds_up_nobody(triton, logins):
    """People who have logged in from there before need not wait.

    All readers from outside come through the login node, with one address. Whoever waits there may
    try again soon, and a browser with an earlier login at once.
    """
    user, new = triton.account(), triton.account()
    known = browser_of(triton, "login", user)
    strangers = [(f"nobody{number}", "wrong") for number in range(60)]
    statuses = [answer[0] for answer in logins("login", *[(user, "wrong")] * 11, *strangers)]
    assert statuses.count(403) == 70 and statuses.count(429) == 1
    late, held, wrong, other = logins(
        "login",
        (*right(triton, user), known),
        right(triton, new),
        (user, "wrong", known),
        (new, "wrong", known),
    )
    assert (late[0], wrong[0]) == (302, 403)
    assert held[0] == other[0] == 429 and int(held[3]) <= 30, (held, other)
    statuses = [answer[0] for answer in logins("login", *[(user, "wrong", known)] * 11)]
    assert 429 in statuses, "a known browser has no limit"


@pytest.mark.claims("Whoever guesses passwords has to wait, whichever way they try;")
@pytest.mark.parametrize("header", [False, True])
def test_no_other_way_to_guess_is_uncounted(triton, logins, header):
    """Another spelling of the name and an invented address do not start a new count."""
    user = triton.account()
    guesses = []
    for number, name in enumerate((user, user.upper(), user.title()) * 7):
        address = {"X-Forwarded-For": f"10.1.1.{number}", "X-Real-Ip": f"10.1.2.{number}"}
        guesses.append((name, "wrong", address if header else {}))
    logins("c1", *guesses)
    assert logins("c1", right(triton, user))[0][0] == 429


@pytest.mark.claims("Root, the system's accounts and those without a password cannot log in.")
def test_system_accounts_and_empty_passwords_are_refused(triton, logins):
    """PAM would let them in. The answer comes at once, so the hub did not ask PAM."""
    empty = triton.account()
    triton.run(
        "hub",
        "cp -p /etc/shadow /root/; echo 'root:right\nslurm:right' | chpasswd; passwd "
        f"--quiet --delete {empty}",
    )
    try:
        answers = logins(
            "c2",
            ("root", "right"),
            ("slurm", "right"),
            ("ROOT", "right"),
            (empty, ""),
            ("x" * 1000, "wrong"),
            (empty, "x" * 3_000),
            (empty, "any"),
            (f"token of {empty}", "any"),
            (f"token of {empty}", "\0"),
        )
        asks = "; ".join(
            f'pamela.authenticate("{name}", "{password}", service="jupyterhub")'
            for name, password in (("root", "right"), (empty, ""))
        )
        python = f"/opt/jupyterhub/bin/python -c 'import pamela; {asks}'"
        asked = hub.as_hub(triton, python, check=False)
    finally:
        triton.run("hub", "mv /root/shadow /etc/shadow")
    assert asked.returncode == 0, "PAM does not let them in, so the test shows nothing"
    assert {status for status, *_ in answers} == {403}
    assert max(seconds for _, seconds, *_ in answers[:2]) < 2, "PAM must have been asked"


def test_impossible_names_and_passwords_do_not_reach_pam(triton, logins):
    """The hub refuses an impossible name or password at once.

    A C library ends a text at its first zero byte, and a directory may ignore a space. One account
    would have endless names.
    """
    user = triton.account()
    right = triton.password(user)
    names = [f"{user}\0x", "root\0x", f"{user} ", f"{user}\xad", f"{user}\n", "\uff53" + user[1:]]
    forms = [(name, password) for name in names for password in (right, "wrong")] + [
        (user, f"{right}\0x"),
        (user, "\0wrong"),
    ]
    triton.run(
        "hub",
        "cp -p /etc/pam.d/jupyterhub /root/; sed -i '1i auth required pam_exec.so "
        "/usr/bin/touch /tmp/asked' /etc/pam.d/jupyterhub",
    )
    try:
        answers = logins("c2", *((f"token of {name}", password) for name, password in forms))
        assert {status for status, *_ in answers} == {403}
        assert triton.run("hub", "ls /tmp/asked", check=False).returncode
        assert logins("c2", (user, right))[0][0] == 302
        triton.run("hub", "ls /tmp/asked")  # a name that reaches PAM leaves this trace
    finally:
        triton.run("hub", "mv /root/jupyterhub /etc/pam.d/; rm -f /tmp/asked")


def test_a_form_without_its_fields_gets_one_sentence(triton, logins):
    output = triton.run(
        "laptop",
        f"curl --silent --cookie-jar /tmp/jar --output /dev/null {HUB}/hub/login; "
        f"token=$(awk '/_xsrf/ {{print $7}}' /tmp/jar); "
        f"curl --silent --write-out '%{{http_code}}' --cookie /tmp/jar --data "
        f"_xsrf=$token {HUB}/hub/login",
    ).stdout
    assert output.endswith("400") and "A user name and a password are needed." in output


def test_an_account_that_differs_in_case_only_is_nobody_elses(triton, logins):
    """The hub writes names in lower case, so one account would get the servers of the other."""
    user = triton.account()
    twin = user.title()
    triton.run(
        "hub",
        f"cp -p /etc/passwd /etc/shadow /root/; echo '{twin}:x:30000:30000::/:/bin/sh' >> "
        f"/etc/passwd; echo '{twin}:!:20000::::::' >> /etc/shadow; "
        f"echo '{twin}:its-own' | chpasswd",
    )
    try:
        upper = (user.upper(), triton.password(user))
        answers = logins("c2", (twin, "its-own"), right(triton, user), upper)
        assert [status for status, *_ in answers] == [403, 302, 403]
    finally:
        triton.run("hub", "mv /root/passwd /root/shadow /etc/")


def test_a_page_that_is_not_the_hubs_logs_nobody_in(triton, logins):
    """It may send the password of its owner: the reader would then write into the owner's files."""
    user = triton.account()
    theirs = {"Origin": SERVERS.replace("*", user)}
    others = [
        theirs,
        {"Origin": "null"},
        theirs | {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ]
    own = [{"Origin": HUB}, {"Origin": HUB, "Sec-Fetch-Site": "same-origin"}]
    answers = logins("laptop", *((*right(triton, user), headers) for headers in others + own))
    assert [(status, text) for status, _, text, _ in answers] == [
        (403, "Another page has sent this form. Log in with this one.")
    ] * 4 + [(302, "")] * 2


def api(triton, token, path, *options):
    """The answer of the hub to a program with this token: (status, text, seconds)."""
    shows = ["--silent", "--write-out", "\n%{http_code} %{time_total}"]
    words = ["curl", *shows, "--header", f"Authorization: token {token}", *options]
    output = triton.run("laptop", [*words, f"{HUB}/hub/api{path}"]).stdout
    body, _, numbers = output.rpartition("\n")
    status, seconds = numbers.split()
    return int(status), json.loads(body or "null"), float(seconds)


CAREFUL = f"{OPTIONS} --Authenticator.auth_refresh_age=1 --ProfileSpawner.refused_seconds=4"


@pytest.fixture(scope="module")
def with_a_server(triton):
    """(user, token, people): the server of this user runs, and the hub checks the account each
    second. The other tests come first, since the hub is another one from here on.
    """
    hub.put_stand_in(triton)
    hub.running(triton, CAREFUL)
    people, user = hub.People(triton), triton.account()
    try:
        people.ask(user, "log_in")
        people.ask(user, "start", TINY)
        assert within(60, lambda: is_ready(people, user)), hub.log(triton)[-3000:]
        asks = json.dumps({"auth": {"username": user, "password": triton.password(user)}})
        status, text, _ = api(triton, "none", f"/users/{user}/tokens", "--data", asks)
        assert status == 403, "a page of anybody could guess passwords inside the network"
        text = people.ask(user, "token")
        assert text["expires_at"], text
        yield user, text["token"], people
    finally:
        people.close()
        triton.run("login", f"scancel --user={user}")


def test_a_closed_account_can_use_no_login_and_no_token(triton, with_a_server):
    """Old logins and tokens do not work either.

    The account's server runs on, like its other jobs; the administrator who closes the account ends
    those. When the account is open again, everything works as before.
    """
    user, token, people = with_a_server
    [job] = alive(triton, user)
    start = ("--request", "POST", "--data", json.dumps({"profile": TINY}))
    asks = {
        "note": f"Server at /user/{user}/",
        "scopes": [f"users:activity!user={user}", f"access:servers!user={user}"],
    }
    status, made, _ = api(triton, token, f"/users/{user}/tokens", "--data", json.dumps(asks))
    assert status == 201 and api(triton, made["token"], "/user")[0] == 200, (
        "the token cannot do what the server's token can"
    )
    triton.run("hub", f"usermod --expiredate 1 {user}")
    time.sleep(1.1)
    assert api(triton, made["token"], "/user")[0] == 403
    assert api(triton, token, "/user")[0] == 403
    for path in ("servers/another", "tokens"):
        assert api(triton, token, f"/users/{user}/{path}", *start)[0] == 403
    with pytest.raises(Refused, match="403"):
        people.ask(user, "known")
    hub.running(triton, CAREFUL)
    time.sleep(7)
    assert alive(triton, user) == [job], "the hub has refused the server's own token"
    triton.run("hub", f"usermod --expiredate '' {user}; chage --lastday 0 {user}")
    assert api(triton, token, "/user")[0] == 200, "an expired password closes the account"
    assert people.ask(user, "known")["servers"][""]["ready"]


@pytest.mark.parametrize("first", ["the old one", "the new one"])
def test_who_gets_a_name_gets_a_user_without_logins(triton, with_a_server, first):
    """A closed account's name was given to somebody else, whose number is another. What the one
    before had, a login and a token, opens nothing, whoever of the two comes first.
    """
    people, user, new_one = with_a_server[2], triton.account(), hub.People(triton)
    people.ask(user, "log_in")
    token = people.ask(user, "token")["token"]
    number = int(triton.run("hub", f"id -u {user}").stdout)
    rename = f"sed -i 's/^{user}:x:[0-9]*:/{user}:x:%s:/' /etc/passwd"
    triton.run("hub", rename % (number + 20_000))
    try:
        if first == "the new one":
            new_one.ask(user, "log_in")
        else:
            time.sleep(1.1)
        assert api(triton, token, "/user")[0] == 403
        with pytest.raises(Refused, match="403"):
            people.ask(user, "known")
        new_one.ask(user, "log_in")
        time.sleep(1.1)
        assert new_one.ask(user, "known")["name"] == user
        assert api(triton, token, "/user")[0] == 403
    finally:
        new_one.close()
        triton.run("hub", rename % number)


@pytest.mark.claims("To log out ends your logins in all browsers, and in your servers.")
def test_to_log_out_ends_the_logins_of_all_browsers(triton, with_a_server):
    """Somebody who knew the password may have logged in."""
    user, people, thief = triton.account(), with_a_server[2], hub.People(triton)
    try:
        thief.ask(user, "log_in")
        assert thief.ask(user, "known")["name"] == user
        people.ask(user, "log_in")
        token = people.ask(user, "token")["token"]
        people.ask(user, "look", "/hub/logout")
        for window in (thief, people):
            with pytest.raises(Refused, match="403"):
                window.ask(user, "known")
    finally:
        thief.close()
    assert api(triton, token, "/user")[0] == 200, "a token is no login, and is revoked by hand"


def test_a_login_shell_keeps_out_whom_the_readme_says(triton, logins):
    """It keeps out nobody, until the README's line stands in the rules for PAM."""
    people = [right(triton, triton.account()) for _ in range(2)]
    user = people[0][0]
    readme = (ROOT / "triton/jupyterhub/README.md").read_text(encoding="utf-8")
    [line] = re.findall("`(account .* pam_shells.so)`", readme)
    rules = "/etc/pam.d/jupyterhub"
    triton.run("hub", f"usermod --shell /usr/sbin/nologin {user}")
    assert [status for status, *_ in logins("laptop", *people)] == [302, 302]
    triton.run("hub", f"cp {rules} /root/rules; echo '{line}' >> {rules}")
    try:
        assert [status for status, *_ in logins("laptop", *people)] == [403, 302]
    finally:
        triton.run("hub", f"mv /root/rules {rules}; usermod --shell /bin/bash {user}")


def test_a_pam_that_does_not_answer_ends_nothing(triton, with_a_server):
    """It delays nobody else."""
    _, token, _ = with_a_server
    triton.run(
        "hub",
        "cp -p /etc/pam.d/jupyterhub /root/; sed -i '1i account required pam_exec.so "
        "/usr/bin/sleep 30' /etc/pam.d/jupyterhub",
    )
    try:
        shows = "--silent --output /dev/null --write-out '%{http_code} %{time_total}'"
        look = f"curl {shows} --header 'Authorization: token {token}' {HUB}/hub/api/user"
        asks = [triton.start("laptop", look, stdout=subprocess.PIPE) for _ in range(5)]
        time.sleep(1)
        assert api(triton, "none", "/")[2] < 2, "other users get no answer"
        outputs = [ask.communicate(timeout=60)[0].split() for ask in asks]
    finally:
        triton.run("hub", "mv /root/jupyterhub /etc/pam.d/")
    assert [status for status, _ in outputs] == ["200"] * 5
    assert max(float(seconds) for _, seconds in outputs) < 9, outputs


COUNTS = (ROOT / "tests/data/hub/counts.py").read_text(encoding="utf-8")


def test_a_wait_ends_and_the_counts_take_little_memory(triton):
    """The memory is limited however many names are tried. All IPv6 addresses of one person count as
    one.
    """
    output = triton.run(
        "hub", ["env", "-C", "/etc/jupyterhub", "/opt/jupyterhub/bin/python", "-B", "-c", COUNTS]
    ).stdout
    assert output.split() == ["1", "0", "0", "10000", "2001:db8::/64", "10.1.2.3"]
