import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import type { CommandContext } from '../../../services/core/console/context.ts'
import { showLive } from '../../../services/core/console/live-screen.ts'
import { widthOf } from '../../../services/core/console/terminal-text.ts'
import { type Clock, systemClock } from '../../../services/core/runtime/clock.ts'
import { openMemoryStore } from '../../../services/core/store/memory/memory.ts'
import { EventReporter } from '../../../services/local/event-reporter.ts'
import { FleetProcesses } from '../../../services/local/fleet-processes.ts'
import { layOut, runFleet } from '../../../services/local/while-fleet-runs.ts'

const nothing: Disposable = { [Symbol.dispose]: () => undefined }

/** A terminal of a size; `print` is what it does with what it is sent. */
function terminal(
  columns: number,
  rows: number,
  print: (text: string) => void,
  clock: Clock = systemClock,
): CommandContext {
  return {
    env: {},
    folder: '/nonexistent',
    clock,
    chance: () => 0.5,
    screen: { isTerminal: true, columns, rows, coloured: false },
    isAttended: true,
    print,
    flush: async () => true,
    tell: () => undefined,
    become: async () => 0,
    ask: async () => '',
    input: async () => '',
    onSignal: () => nothing,
    onKey: () => nothing,
    onResize: () => nothing,
    onExit: () => nothing,
  }
}

test('the live table fits every window, and its foot is always there', () => {
  const table = Array.from({ length: 12 }, (_, index) => `agent ${index}`)
  const kept = Array.from({ length: 30 }, (_, index) => `event ${index}`)
  for (let rows = 1; rows <= 60; rows += 1) {
    const lines = layOut(table, (room) => kept.slice(-room), 'foot', rows)
    assert.ok(lines.length <= rows, `${lines.length} lines in ${rows}`)
    assert.equal(lines.at(-1), 'foot')
    if (rows > 2) assert.equal(lines[0], 'agent 0')
  }
  assert.equal(layOut(table, (room) => kept.slice(-room), 'foot', 40)[13], 'event 5')
})

test('a line that is wider than the window does not wrap in it', async () => {
  const ending = new AbortController()
  let frame = ''
  const context = terminal(20, 5, (text) => {
    if (!text.includes('\x1b[H')) return
    frame = text
    ending.abort()
  })
  const painted = `\x1b[31m${'日'.repeat(30)}\x1b[39m`
  await showLive(context, async () => [painted, 'x'.repeat(21), 'y'.repeat(20)], 1_000, ending.signal)
  const lines = stripVTControlCharacters(frame).split('\r\n')
  assert.deepEqual(lines.map(widthOf), [19, 20, 20], 'half of a wide character is none')
  assert.ok(frame.includes('日…\x1b[39m'), 'its colour ends with it')
  assert.equal(lines[2], 'y'.repeat(20))
})

test('a terminal that fails ends the fleet, and no chore goes on', async () => {
  const ending = new AbortController()
  const context = terminal(80, 24, (text) => {
    if (text.includes('\x1b[H')) throw new Error('the terminal is gone')
  })
  const reporter = new EventReporter(context, false)
  const store = openMemoryStore({ clock: systemClock })
  const fleet = { listen: { host: '127.0.0.1', port: 1 }, remote: null, branch: 'main', settings: {}, demo: null }
  const runner = new FleetProcesses(
    { ...fleet, orchestrator: { agent: 'orchestrator', role: 'orchestrator', wake: null }, workers: [] } as never,
    {
      clock: systemClock,
      chance: () => 0.5,
      state: '/nonexistent',
      say: () => undefined,
      onMisconfigured: () => undefined,
    },
  )
  const parts = {
    state: '/nonexistent',
    lifetimeMs: 4_000,
    context,
    reporter,
    store,
    runner,
    ending,
    renewCredentials: async () => {},
  }
  await assert.rejects(runFleet(parts, null), /the terminal is gone/)
  assert.equal(ending.signal.aborted, true)
})
