/** The threat model of docs/security.md: each line names one test, and that test exists. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const LINE = /^\| (?<can>.+) \| (?<cannot>.+) \| `(?<file>test\/[\w./-]+)`: (?<title>.+) \|$/

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line.startsWith('|') && !/^\|(-|\s*can \|)/.test(line))
}

/** What is wrong with a line; null where its test exists. */
function faultOf(line: string): string | null {
  const { file, title } = LINE.exec(line)?.groups ?? {}
  if (file === undefined || title === undefined) return `names no test: ${line.slice(0, 80)}`
  if (!existsSync(file)) return `there is no ${file}`
  const isThere = [`'${title}'`, `"${title}"`, `\`${title}\``].some((quoted) =>
    readFileSync(file, 'utf8').includes(quoted),
  )
  return isThere ? null : `${file} has no test called: ${title}`
}

test('each line of the threat model is shown by a test of its own', () => {
  const model = lines(readFileSync('docs/security.md', 'utf8'))
  assert.ok(model.length > 30, 'the model was not found')
  assert.deepEqual(
    model.map(faultOf).filter((fault) => fault !== null),
    [],
  )
})

test('a breach is seen: a line without a test, and one whose test was renamed', () => {
  assert.match(faultOf('| can | cannot | by nature |') ?? '', /names no test/)
  assert.match(faultOf('| a | b | `test/threat-model.test.ts`: no such title |') ?? '', /has no test called/)
})
