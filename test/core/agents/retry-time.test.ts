import assert from 'node:assert/strict'
import { test } from 'node:test'
import { retryAfter, retryTimeIn } from '#agents/retry-time.ts'
import { systemZone } from '#runtime/wall-day.ts'

/** A Sunday, 5:46 pm in UTC. */
const NOW = Date.parse('2026-11-29T17:46:00Z')

/** Wordings of the clients, and the instant that is meant; null: none can be read. */
const SAID: readonly (readonly [text: string, instant: string | null, zone?: string])[] = [
  ["You've hit your session limit · resets 8:47pm (UTC)", '2026-11-29T20:47:00Z'],
  ["You've hit your weekly limit · resets Dec 3, 8:47pm (UTC)", '2026-12-03T20:47:00Z'],
  ["You've hit your limit · resets 1am (Europe/Lisbon)", '2026-11-30T01:00:00Z'],
  ["You've hit your session limit · resets 3:50am (Asia/Tokyo)", '2026-11-29T18:50:00Z'],
  ["You've hit your weekly limit · resets Mon 12:00am", '2026-11-30T00:00:00Z'],
  ["You've hit your weekly limit · resets Sunday, 9am", '2026-12-06T09:00:00Z'],
  ["You've hit your weekly limit · resets Jan 4 at 3pm", '2027-01-04T15:00:00Z'],
  ["You've hit your weekly limit · resets Dec 3", '2026-12-03T00:00:00Z'],
  ['5-hour limit reached ∙ resets tomorrow at 3pm', '2026-11-30T15:00:00Z'],
  ['5-hour limit reached ∙ resets 18:00', '2026-11-29T18:00:00Z'],
  ['5-hour limit reached ∙ resets 6pm', '2026-11-29T23:00:00Z', 'America/New_York'],
  ['Claude usage limit reached. Your limit will reset at 12am (Nowhere/At_all).', '2026-11-30T00:00:00Z'],
  ['Claude AI usage limit reached|1796000000', new Date(1_796_000_000_000).toISOString()],
  [
    'You’ve hit your usage limit. Visit https://x to purchase more credits or try again at 8:48 PM.',
    '2026-11-29T20:48:00Z',
  ],
  ['… or try again at Dec 3rd, 2026 8:48 PM.', '2026-12-03T20:48:00Z'],
  ['… or try again in 2 days 17 hours 14 minutes.', '2026-12-02T11:00:00Z'],
  ['Try again in 2h 13m', '2026-11-29T19:59:00Z'],
  ['try again in 1 hour, 30 minutes and 5 seconds', '2026-11-29T19:16:05Z'],
  ['{"type":"usage_limit_reached","resets_at":1796000000}', new Date(1_796_000_000_000).toISOString()],
  // The time of a limit that has just ended, and is not yet lifted, is not tomorrow.
  ['resets 5:40pm (UTC)', '2026-11-29T17:40:00Z'],
  ['resets 4pm (UTC)', '2026-11-30T16:00:00Z'],
  ['resets 4:46pm (UTC)', '2026-11-29T16:46:00Z'],
  ['resets Sunday, 4:46pm', '2026-11-29T16:46:00Z'],
  ['resets Sunday, 4:45pm', '2026-12-06T16:45:00Z'],
  ['resets Sun 8pm', '2026-11-29T20:00:00Z'],
  ['resets Tue 9am', '2026-12-01T09:00:00Z'],
  ['resets Wednesday 9am', '2026-12-02T09:00:00Z'],
  ['resets Thu 9am', '2026-12-03T09:00:00Z'],
  ['resets Fri 9am', '2026-12-04T09:00:00Z'],
  ['resets Saturday', '2026-12-05T00:00:00Z'],
  ['resets tomorrow', '2026-11-30T00:00:00Z'],
  ['resets tomorrow at 8pm', '2026-11-30T20:00:00Z'],
  ['resets 18:30', '2026-11-29T18:30:00Z'],
  // A date without a year is not long over.
  ['resets Sep 30, 5:46pm', '2026-09-30T17:46:00Z'],
  ['resets Sep 30, 5:45pm', '2027-09-30T17:45:00Z'],
  ['resets Jan 4, 2028 at 3pm', '2028-01-04T15:00:00Z'],
  // In Berlin the clocks go forward at 2 am of this day.
  ['resets Mar 28, 3am (Europe/Berlin)', '2027-03-28T01:00:00Z'],
  ['resets Mar 28, 1:30am (Europe/Berlin)', '2027-03-28T00:30:00Z'],
  ['Try again later.', null],
  [`try again in ${'9'.repeat(20)} days`, null],
  ['try again at 15', null],
  ['the board resets itself', null],
  ['', null],
]

test('the time at which a client may be tried again is read as the client means it', () => {
  for (const [text, instant, zone = 'UTC'] of SAID) {
    const found = retryTimeIn(text, NOW, zone)
    assert.equal(
      found === null ? null : new Date(found).toISOString(),
      instant && new Date(instant).toISOString(),
      text,
    )
  }
})

test('a day of the week is the next one of its name, whichever today is', () => {
  const wednesday = Date.parse('2026-12-02T12:00:00Z')
  for (const [text, instant] of [
    ['resets Mon 9am', '2026-12-07T09:00:00Z'],
    ['resets Fri 9am', '2026-12-04T09:00:00Z'],
    ['resets Wed 6pm', '2026-12-02T18:00:00Z'],
    ['resets Wed 9am', '2026-12-09T09:00:00Z'],
    ['resets Tue', '2026-12-08T00:00:00Z'],
  ] as const)
    assert.equal(retryTimeIn(text, wednesday, 'UTC'), Date.parse(instant), text)
})

test('a retry-after is seconds, a date of HTTP, or one of ISO 8601', () => {
  assert.equal(retryAfter('300', NOW), NOW + 300_000)
  assert.equal(retryAfter('0', NOW), NOW)
  assert.equal(retryAfter('2026-11-30T08:00:00Z', NOW), Date.parse('2026-11-30T08:00:00Z'))
  assert.equal(retryAfter('2026-11-30T08:00:00.5+02:00', NOW), Date.parse('2026-11-30T06:00:00.5Z'))
  assert.equal(retryAfter('Mon, 30 Nov 2026 08:00:00 GMT', NOW), Date.parse('2026-11-30T08:00:00Z'))
  for (const text of ['', 'soon', '-5', '1e9', '2026-13-99T99:00:00Z', '5 minutes', '12345678901'])
    assert.equal(retryAfter(text, NOW), null, text)
})

test('no text is slow to read', () => {
  const began = performance.now()
  for (const text of [
    'resets '.repeat(600),
    `again in ${'9d '.repeat(1_300)}`,
    `resets ${'1'.repeat(4_000)}`,
    '|'.repeat(4_000),
  ])
    retryTimeIn(text, NOW, systemZone())
  assert.ok(performance.now() - began < 1_000)
})
