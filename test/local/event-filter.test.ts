import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CommandContext } from '#console/context.ts'
import { systemClock } from '#runtime/clock.ts'
import { EventFilter } from '../../services/local/event-filter.ts'
import { EventReporter } from '../../services/local/event-reporter.ts'
import { alertContent, type Notice } from '../../services/watchdog/alert-text.ts'
import { ManualClock } from '../manual-clock.ts'

/** The line that the watchdog logs of an incident. */
function alertLine(event: 'opened' | 'closed', id: number, agent: string): string {
  const closed = event === 'closed'
  const notice: Notice = {
    event,
    incident: {
      id,
      cause: `silent:${agent}`,
      kind: 'silent',
      agent,
      summary: `${agent} was not heard for 60s`,
      openedAt: 0,
      closedAt: closed ? 1 : null,
      outcome: closed ? `${agent} is heard again` : null,
      retold: 0,
    },
  }
  const { event: _event, ...fields } = alertContent(notice)
  const at = new Date(0).toISOString()
  return JSON.stringify({
    at,
    level: closed ? 'info' : 'error',
    program: 'watchdog',
    event: `incident ${event}`,
    ...fields,
  })
}

test('two incidents within 10 s are both shown, each once, and so is the end of each', async () => {
  const clock = new ManualClock()
  const filter = new EventFilter(clock, 'watchdog')
  const shown = (...lines: string[]): string[] =>
    lines.flatMap((line) => {
      const taken = filter.take(line)
      return taken === null ? [] : [`${taken.event} ${taken.fields.incident}`]
    })
  const first = [alertLine('opened', 1, 's2-worker-1'), alertLine('opened', 2, 's2-worker-2')]
  assert.deepEqual(shown(...first, ...first), ['incident opened 1', 'incident opened 2'])
  const ends = [alertLine('closed', 1, 's2-worker-1'), alertLine('closed', 2, 's2-worker-2')]
  assert.deepEqual(shown(...ends, ...ends), ['incident closed 1', 'incident closed 2'])
  assert.deepEqual(shown(JSON.stringify({ level: 'info', event: 'task moved' })), [])
  const warning = JSON.stringify({ level: 'warn', event: 'alert not sent, retrying', incident: 1, error: {} })
  assert.equal(shown(warning, warning).length, 1)
  await clock.advance(10_000)
  assert.equal(shown(warning, warning).length, 1)
})

test('a person reads the sentence of an incident once, and its number', () => {
  const filter = new EventFilter(new ManualClock(), 'watchdog')
  const taken = filter.take(alertLine('opened', 7, 's2-worker-1'))
  assert.ok(taken !== null)
  const say = (json: boolean): string => {
    const printed: string[] = []
    const print = (text: string): void => void printed.push(text)
    const context = { clock: systemClock, print } as Partial<CommandContext> as CommandContext
    new EventReporter(context, json).tell({ agent: 'orchestrator', program: 'watchdog', ...taken })
    return printed.join('')
  }
  assert.match(
    say(false),
    /^[\d:]{8} orchestrator watchdog: incident opened S2 incident: s2-worker-1 was not heard for 60s incident=7\n$/,
  )
  assert.equal((JSON.parse(say(true)) as { cause: string }).cause, 'silent:s2-worker-1', 'programs get all of it')
})

test('what a task prints is no event of S2, whatever it looks like', () => {
  const line = JSON.stringify({ level: 'warn', event: 'incident closed', incident: 5, text: 'all is well' })
  assert.equal(new EventFilter(new ManualClock(), 'worker').take(line), null)
  assert.notEqual(new EventFilter(new ManualClock(), 'watchdog').take(line), null)
})
