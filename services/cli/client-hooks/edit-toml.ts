import { isDeepStrictEqual } from 'node:util'

/** Changes of a TOML text by whole tables, which leave every other letter of it as it is. */

/** The text with a table of these lines: in the place of the one with that header, or at the end. */
export function withTable(text: string, header: string, lines: readonly string[]): string {
  const table = `[${header}]\n${lines.map((line) => `${line}\n`).join('')}`
  const found = tableAt(text, header)
  if (found !== null) return text.slice(0, found.start) + table + text.slice(found.end)
  const gap = text === '' ? '' : text.endsWith('\n') ? '\n' : '\n\n'
  return `${text}${gap}${table}`
}

/** The text without that table, and without the empty line before it. */
export function withoutTable(text: string, header: string): string {
  const found = tableAt(text, header)
  if (found === null) return text
  const before = text.slice(0, found.start)
  return (before.endsWith('\n\n') ? before.slice(0, -1) : before) + text.slice(found.end)
}

/** The text with another header for that table, where it stands. */
export function withRenamedTable(text: string, header: string, next: string): string {
  const found = tableAt(text, header)
  if (found === null) return text
  const renamed = text.slice(found.start).replace(HEADER, () => `[${next}]`)
  return text.slice(0, found.start) + renamed
}

/** The lines of that table under its header; null where there is none. */
export function tableText(text: string, header: string): string | null {
  const found = tableAt(text, header)
  return found === null ? null : text.slice(found.start, found.end)
}

/** The headers of the tables of a text, as they are written. */
export function tableHeaders(text: string): string[] {
  return [...linesOf(text)].flatMap(({ line, isInString }) => (isInString ? [] : (headerOf(line) ?? [])))
}

/** From its header to its last line that holds something: comments that lead the next table belong to that. */
function tableAt(text: string, header: string): { start: number; end: number } | null {
  let start = -1
  let end = -1
  for (const { line, at, isInString } of linesOf(text)) {
    const isHeader = !isInString && /^\s*\[/.test(line)
    if (isHeader && start >= 0) break
    if (isHeader && isSame(headerOf(line), header)) start = at
    if (start >= 0 && (isInString || !/^\s*(#.*)?$/.test(line))) end = Math.min(text.length, at + line.length + 1)
  }
  return start < 0 ? null : { start, end }
}

/** What stands between the brackets of a table's header; null for the header of a list, and any other line. */
function headerOf(line: string): string | null {
  return HEADER.exec(line)?.[1] ?? null
}

const HEADER = /^\s*\[(?!\[)((?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\]"'])*)\]/

function isSame(found: string | null, header: string): boolean {
  return found !== null && isDeepStrictEqual(keysOf(found), keysOf(header))
}

const KEYS = /"((?:[^"\\]|\\.)*)"|'([^']*)'|([\w-]+)/g

/** The keys that a header consists of: dots divide them, and what is in quotes may hold dots and white space. */
function keysOf(header: string): string[] {
  return [...header.matchAll(KEYS)].map(([, basic, literal, bare]) => literal ?? bare ?? unescaped(basic ?? ''))
}

function unescaped(basic: string): string {
  try {
    return JSON.parse(`"${basic}"`) as string
  } catch {
    return basic // an escape that JSON does not know; no key of ours has one
  }
}

/** The lines of a text, each with its place and whether it begins inside a string of several lines. */
function* linesOf(text: string): Generator<{ line: string; at: number; isInString: boolean }> {
  let at = 0
  let open: string | null = null
  for (const line of text.split('\n')) {
    yield { line, at, isInString: open !== null }
    open = openAfter(line, open)
    at += line.length + 1
  }
}

const OPENING = /"""|'''|"(?:[^"\\]|\\.)*"|'[^']*'|#/

/** The quotes of the string of several lines that is open after a line; null where none is. */
function openAfter(line: string, before: string | null): string | null {
  let rest = line
  let open = before
  for (;;) {
    if (open !== null) {
      const at = rest.indexOf(open)
      if (at < 0) return open
      rest = rest.slice(at + open.length)
      open = null
    }
    const [token = '#'] = OPENING.exec(rest) ?? []
    if (token === '#') return null
    rest = rest.slice(rest.indexOf(token) + token.length)
    if (token === '"""' || token === "'''") open = token
  }
}
