/**
 * A test that waits for a log event, or wants none of it, names it as the programs do: one that was renamed would be waited for
 * without end, or be absent whatever the programs did.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (path: string): string => readFileSync(path, 'utf8')
const programs = globSync('services/**/*.ts').map(read).join('\n')
const tests = globSync('test/**/*.{ts,sh}').filter((path) => !path.endsWith('log-events.test.ts'))

/** How tests name an event, and whether a program's text has it: the whole of it, its beginning, or a part. */
const FORMS: readonly { readonly form: RegExp; has(name: string): boolean }[] = [
  { form: /\.(?:eventsOf|said)\(\s*'([^']+)'/g, has: (name) => programs.includes(`'${name}'`) },
  { form: /\bevent [!=]== '([^']+)'/g, has: (name) => programs.includes(`'${name}'`) },
  { form: /\\?"event\\?":\\?"([^"\\]+)/g, has: (name) => programs.includes(`'${name}'`) },
  { form: /\bevent\.startsWith\('([^']+)'/g, has: (name) => programs.includes(`'${name}`) },
  { form: /\bevent\.includes\('([^']+)'/g, has: (name) => programs.includes(name) },
]

/** The events that a test names and that neither a program nor the test itself has. */
function strangers(text: string): string[] {
  return FORMS.flatMap(({ form, has }) =>
    [...text.matchAll(form)].flatMap(([, name = '']) => (has(name) || text.includes(`.info('${name}'`) ? [] : [name])),
  )
}

test('each log event that a test names is one of a program', () => {
  const found = tests.flatMap((path) => strangers(read(path)).map((name) => `${path}: no program logs ${name}`))
  assert.deepEqual(found, [])
})

test('a breach is seen: each log event that a test names is one of a program', () => {
  for (const line of [
    "assert.deepEqual(bridge.eventsOf('mail that nobody logs'), [])",
    "records.some(({ event }) => event.startsWith('mail that nobody logs'))",
    'lines "\\"event\\":\\"mail that nobody logs\\""',
  ]) {
    assert.deepEqual(strangers(line), ['mail that nobody logs'], line)
  }
  assert.deepEqual(strangers("bridge.eventsOf('ready')"), [])
})
