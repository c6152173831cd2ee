import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NAMED_SECRETS } from '#fleet/named-secrets.ts'
import { redact } from '#fleet/redact.ts'
import { SECRET_KINDS } from '#fleet/secret-kinds.ts'
import { falseSamples } from './false-samples.ts'
import { type TrueSample, trueSamples } from './true-samples.ts'

const TRUE = trueSamples()
const FALSE = falseSamples()

/** Whether nothing is left of the secret, as it is and as JSON within JSON would have it, and the mark names the kind. */
function isGone({ kind, secret, text }: TrueSample): boolean {
  const clean = redact(text)
  return !clean.includes(secret) && clean.includes(kind === null ? '[redacted ' : `[redacted ${kind}]`)
}

test('secrets are taken out, and what is none stays', (t) => {
  const missed = TRUE.filter((sample) => !isGone(sample))
  const alarms = FALSE.filter((text) => redact(text) !== text)
  const recall = (100 * (TRUE.length - missed.length)) / TRUE.length
  const falseAlarms = (100 * alarms.length) / FALSE.length
  t.diagnostic(`recall ${recall.toFixed(2)} % of ${TRUE.length} secrets of ${kindsOf(TRUE).size} kinds`)
  t.diagnostic(`false alarms ${falseAlarms.toFixed(2)} % of ${FALSE.length} texts without one`)
  const shown = [
    ...missed.map(({ kind, text }) => `${kind}: ${text.slice(0, 200)}\n  became ${redact(text).slice(0, 200)}`),
    ...alarms.map((text) => `false: ${text.slice(0, 200)}\n  became ${redact(text).slice(0, 200)}`),
  ].join('\n')
  assert.ok(TRUE.length >= 200 && FALSE.length >= 300, 'the corpus is too small to say anything')
  assert.ok(recall >= 99, shown)
  assert.ok(falseAlarms <= 1, shown)
  assert.equal(shown, '')
})

test('every kind of the table is in the corpus', () => {
  const known = [...SECRET_KINDS, ...NAMED_SECRETS].map(({ name }) => name)
  assert.deepEqual(
    known.filter((name) => !kindsOf(TRUE).has(name)),
    [],
  )
  assert.ok(new Set(known).size >= 30)
  for (const { name, source } of SECRET_KINDS)
    assert.match(source, /RFC \d{4}|\w+\.\w+\/|docs\/\w+\.md/, `${name} has no source`)
})

function kindsOf(samples: readonly TrueSample[]): Set<string | null> {
  return new Set(samples.map(({ kind }) => kind))
}

const fragments = fc.oneof(
  fc.constantFrom(...TRUE.map(({ text }) => text)),
  fc.constantFrom(...FALSE.map((text) => text.slice(0, 400))),
  fc.constantFrom(
    '[redacted password]',
    '[redacted',
    ']',
    '=',
    ': ',
    '"',
    '\\n',
    '@',
    '://',
    'password=',
    ' ',
    '\n',
    'sk-',
  ),
  fc.string({ maxLength: 20 }),
)

test('redacting twice changes nothing', () => {
  fc.assert(
    fc.property(fc.array(fragments, { maxLength: 8 }), fc.constantFrom('', ' ', '\n'), (parts, glue) => {
      const once = redact(parts.join(glue))
      assert.equal(redact(once), once)
    }),
    { numRuns: 2_000 },
  )
})

test('what is JSON stays JSON, so that lines of the log and messages about tasks can be read', () => {
  fc.assert(
    fc.property(fc.array(fragments, { maxLength: 6 }), fc.constantFrom('', ' ', '\n', '"', "'"), (parts, glue) => {
      const text = parts.join(glue)
      for (const json of [
        JSON.stringify({ a: text, b: parts }),
        JSON.stringify({ c: JSON.stringify({ a: text, parts }) }),
      ])
        assert.doesNotThrow(() => JSON.parse(redact(json)), json)
    }),
    { numRuns: 1_000 },
  )
})

test('a secret is taken out whatever stands around it', () => {
  const exact = TRUE.filter(({ text, secret }) => text === secret)
  const around = fc.string({ maxLength: 60 }).map((text) => text.replaceAll(/[\w-]|\[/g, '.'))
  // A line of sha256sum(1), whose digest looks as a token of ours does, is left alone.
  const behind = around.filter((text) => !/^ [ *]/.test(text))
  fc.assert(
    fc.property(fc.constantFrom(...exact), around, behind, ({ secret }, before, after) => {
      assert.ok(!redact(before + secret + after).includes(secret))
    }),
    { numRuns: 2_000 },
  )
})

test('a text of keywords alone takes time by its length, and not by its square', () => {
  const keywords = [...SECRET_KINDS, ...NAMED_SECRETS].flatMap((each) => each.keywords)
  const endings = ['', '=', '="', ': ', '.', '@']
  const texts = keywords.flatMap((keyword) => endings.map((ending) => keyword + ending))
  // The careful measurement is made only of what takes longest at first sight.
  const first = texts
    .map((unit) => ({ unit, ms: timeOf(textOf(unit, 20_000)) }))
    .sort((one, other) => other.ms - one.ms)
  // What others do to the caches can slow one measurement down; a square stays one in each.
  const square = first.slice(0, SLOWEST).filter(({ unit }) => Array.from({ length: 4 }).every(() => growth(unit) > 20))
  assert.deepEqual(
    square.map(({ unit }) => unit),
    [],
  )
})

const SLOWEST = 30

function textOf(unit: string, length: number): string {
  return unit.repeat(Math.ceil(length / unit.length))
}

/**
 * How many times longer eight times the text takes: about 8 where time is linear, 64 where it is square. Both are measured over
 * as many characters, and as time of the processor, so that it does not count what others do on this machine meanwhile.
 */
function growth(unit: string): number {
  const short = processorTime(textOf(unit, 10_000), 24)
  return (8 * processorTime(textOf(unit, 80_000), 3)) / short
}

/** Milliseconds, at least one: the system counts no finer. */
function processorTime(text: string, times: number): number {
  const before = process.threadCpuUsage()
  for (let n = 0; n < times; n += 1) redact(text)
  const { user, system } = process.threadCpuUsage(before)
  return Math.max(1, (user + system) / 1_000)
}

function timeOf(text: string): number {
  const begin = performance.now()
  redact(text)
  return performance.now() - begin
}
