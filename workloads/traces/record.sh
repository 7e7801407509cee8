#!/bin/bash
# Records the traces that stand beside this file: what sort, Python, SQLite and a C compiler read
# and write, as valgrind's lackey sees it. Takes about half an hour and needs valgrind, gcc, sqlite3.
# Usage: record.sh FOLDER [NAME ...]
set -eu
folder=$(realpath "$1")
shift
names=("${@:-}")
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
perfmodel=${PERFMODEL:-perfmodel}
# Accesses to the 64 pages used last would hit in any TLB and change nothing but the trace's length.
recent=64
# So many of the accesses that are left; a longer recording ends there.
most=1500000

wanted() {
    [ -z "${names[*]}" ] || [[ " ${names[*]} " == *" $1 "* ]]
}

# record NAME DESCRIPTION COMMAND...
record() {
    local name=$1 description=$2
    shift 2
    env PYTHONHASHSEED=0 LC_ALL=C valgrind --tool=lackey --trace-mem=yes --log-fd=9 "$@" \
        9>&1 >"$name.out" 2>"$name.err" | grep -a '^ [LSM]' |
        $perfmodel trace import - "$folder/$name.trace" --format lackey --recent $recent --most $most \
            --description "$description" --command "valgrind --tool=lackey --trace-mem=yes $*"
}

# lines of 60 random digits, and lines of ten words of which few are frequent.
awk 'BEGIN { srand(1); for (n = 0; n < 20000; n++) { line = ""; for (i = 0; i < 12; i++)
    line = line sprintf("%05d", int(rand() * 100000)); print line } }' >lines.txt
awk 'BEGIN { srand(2); for (n = 0; n < 2500; n++) { line = ""; for (i = 0; i < 10; i++)
    line = line "w" int(60000 ^ rand()) + int(rand() * rand() * 4000) " "; print line } }' >words.txt
cat >index.py <<'END'
import sys

index = {}
with open(sys.argv[1]) as text:
    for number, line in enumerate(text):
        for place, word in enumerate(line.split()):
            index.setdefault(word, []).append((number, place))
most = sorted(index, key=lambda word: (-len(index[word]), word))[:500]
print(sum(index[word][-1][0] for word in most))
for word in most:
    index[word] = [number for number, place in index[word] if place < 5]
print(sum(len(numbers) for numbers in index.values()))
END
cat >orders.sql <<'END'
PRAGMA cache_size = -32000;
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
INSERT INTO orders SELECT i, (i * 7919) % 3001, printf('%0200d', i * 104729) FROM n;
CREATE INDEX of_customer ON orders (customer);
SELECT customer, count(*), max(note) FROM orders WHERE customer < 300 GROUP BY customer;
UPDATE orders SET note = note || customer WHERE id % 17 = 0;
SELECT count(*), sum(length(note)) FROM orders WHERE customer % 11 = 3;
END
awk 'BEGIN { for (n = 0; n < 40; n++) { printf "int f%d(int *a, int n)\n{\n\tint s = %d;\n", n, n
    for (k = 0; k < 4; k++)
        printf "\tfor (int i = 0; i < n; i++)\n\t\ts += a[i] * %d + (a[i] > s ? s / %d : s ^ a[i]);\n", n + k, k + 3
    printf "\treturn s%s;\n}\n", n ? " + f" n - 1 "(a + 1, n - 1)" : "" } }' >functions.c

if wanted sort; then
    record sort "GNU sort of 20000 lines of 60 digits" sort --parallel=1 -S 64M lines.txt
fi
if wanted python; then
    record python "CPython: an index of the places of 25000 words" \
        "$(python3 -c "import sys; print(sys.executable)")" -S -s index.py words.txt
fi
if wanted sqlite; then
    record sqlite "SQLite: 25000 rows in memory: insert, index, group, update, scan" \
        sqlite3 -init orders.sql :memory: .quit
fi
if wanted compiler; then
    record compiler "GCC's C compiler (cc1 -O1): 40 functions" \
        "$(gcc -print-prog-name=cc1)" -quiet -O1 functions.c -o functions.s
fi
