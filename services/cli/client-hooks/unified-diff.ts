const CONTEXT_LINES = 3

/** The change of a file in the form of `diff -u`, as one hunk from the first line that differs to the last. Empty for no change. */
export function unifiedDiff(path: string, before: string | null, after: string | null): string {
  if (before === after) return ''
  const [old, young] = [linesOf(before ?? ''), linesOf(after ?? '')]
  const head = sharedHead(old, young)
  const tail = sharedHead(old.slice(head).reverse(), young.slice(head).reverse())
  const from = Math.max(0, head - CONTEXT_LINES)
  const more = Math.min(CONTEXT_LINES, tail)
  const [oldEnd, youngEnd] = [old.length - tail, young.length - tail]
  const lines = [
    `--- ${before === null ? '/dev/null' : path}`,
    `+++ ${after === null ? '/dev/null' : path}`,
    `@@ -${rangeOf(from, oldEnd + more)} +${rangeOf(from, youngEnd + more)} @@`,
    ...old.slice(from, head).map((line) => ` ${line}`),
    ...old.slice(head, oldEnd).map((line) => `-${line}`),
    ...young.slice(head, youngEnd).map((line) => `+${line}`),
    ...old.slice(oldEnd, oldEnd + more).map((line) => ` ${line}`),
  ]
  return `${lines.join('\n')}\n`
}

/** Lines; the last of a text that does not end with a line feed says so, as diff does. */
function linesOf(text: string): string[] {
  if (text === '') return []
  const lines = text.split('\n')
  const last = lines.pop() ?? ''
  return last === '' ? lines : [...lines, `${last}\n\\ No newline at end of file`]
}

function sharedHead(one: readonly string[], other: readonly string[]): number {
  const most = Math.min(one.length, other.length)
  for (let at = 0; at < most; at += 1) if (one[at] !== other[at]) return at
  return most
}

function rangeOf(from: number, to: number): string {
  return `${to === from ? from : from + 1},${to - from}`
}
