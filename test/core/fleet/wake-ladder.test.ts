import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CLIENT_ACTIVITIES } from '#fleet/client-activity.ts'
import {
  AGAIN_MAX,
  AGAIN_MS,
  HOUR_MS,
  nextWakeStep,
  orderedRungs,
  PROOF_MS,
  RUNGS,
  TURN_SILENT_MS,
  WAKES_AN_HOUR,
  type WakeTry,
  type WakeView,
} from '#fleet/wake-ladder.ts'
import { SETTINGS } from '#runtime/settings.ts'

const view = (fields: Partial<WakeView>): WakeView => ({
  now: 10_000_000,
  isRead: false,
  tries: [],
  rungs: ['inbox_socket', 'rewake', 'tmux'],
  client: { state: 'idle', heardMs: 1_000 },
  sent: [],
  ...fields,
})

const sent = (rung: WakeTry['rung'], agoMs: number): WakeTry => ({
  rung,
  at: 10_000_000 - agoMs,
  refusal: null,
  mayPass: false,
})
const refused = (rung: WakeTry['rung']): WakeTry => ({
  rung,
  at: 10_000_000,
  refusal: 'no such socket',
  mayPass: false,
})
const passing = (rung: WakeTry['rung'], agoMs: number): WakeTry => ({
  rung,
  at: 10_000_000 - agoMs,
  refusal: 'a draft',
  mayPass: true,
})

test('what was sent has its time to be read; then the next rung is tried, and at the end it is given up', () => {
  assert.deepEqual(nextWakeStep(view({})), { do: 'try', rung: 'inbox_socket' })
  const young = view({ tries: [sent('inbox_socket', PROOF_MS - 1)] })
  assert.deepEqual(nextWakeStep(young), { do: 'wait', what: 'proof', forMs: 1 })
  const old = [sent('inbox_socket', PROOF_MS)]
  assert.deepEqual(nextWakeStep(view({ tries: old })), { do: 'try', rung: 'rewake' })
  const all = [sent('inbox_socket', 2 * PROOF_MS), refused('rewake'), sent('tmux', PROOF_MS)]
  assert.deepEqual(nextWakeStep(view({ tries: all })), { do: 'give_up' })
})

test('a rung that refused is followed by the next at once', () => {
  assert.deepEqual(nextWakeStep(view({ tries: [refused('inbox_socket')] })), { do: 'try', rung: 'rewake' })
})

test('a rung that was refused for a passing cause is tried again after all others, so often and no more', () => {
  const others = [refused('rewake'), sent('tmux', PROOF_MS)]
  const step = (...tries: WakeTry[]) => nextWakeStep(view({ tries: [...tries, ...others] }))
  assert.deepEqual(nextWakeStep(view({ tries: [passing('inbox_socket', 2 * AGAIN_MS)] })), {
    do: 'try',
    rung: 'rewake',
  })
  assert.deepEqual(step(passing('inbox_socket', AGAIN_MS - 200)), { do: 'wait', what: 'passing', forMs: 200 })
  assert.deepEqual(step(passing('inbox_socket', AGAIN_MS)), { do: 'try', rung: 'inbox_socket' })
  const often = Array.from({ length: AGAIN_MAX }, (_, index) => passing('inbox_socket', (AGAIN_MAX - index) * AGAIN_MS))
  assert.deepEqual(step(...often.slice(1)), { do: 'try', rung: 'inbox_socket' })
  assert.deepEqual(step(...often), { do: 'give_up' })
  assert.deepEqual(step(passing('inbox_socket', 2 * AGAIN_MS), refused('inbox_socket')), { do: 'give_up' })
})

test('a rung that refused does not end the time of one that sent', () => {
  const tries = [sent('inbox_socket', PROOF_MS - 500), refused('rewake')]
  assert.deepEqual(nextWakeStep(view({ tries })), { do: 'wait', what: 'proof', forMs: 500 })
})

test('a reading ends it, whatever was tried and whatever the client does', () => {
  for (const state of CLIENT_ACTIVITIES) {
    const tries = [sent('inbox_socket', 5)]
    assert.deepEqual(nextWakeStep(view({ isRead: true, tries, client: { state, heardMs: 0 } })), { do: 'done' })
  }
})

test('nothing is sent to a client at work, at a dialog or at a limit', () => {
  const steps = CLIENT_ACTIVITIES.map((state) => {
    const step = nextWakeStep(view({ client: { state, heardMs: 1_000 } }))
    return [state, step.do === 'wait' ? step.what : step.do]
  })
  assert.deepEqual(Object.fromEntries(steps), {
    working: 'turn',
    idle: 'try',
    waiting: 'person',
    parked: 'limit',
    logged_out: 'person',
    overloaded: 'turn',
    gone: 'try',
  })
})

test('a turn that nothing is heard of keeps no wake waiting, since an interrupt ends it unheard; a dialog does', () => {
  const silent = (state: 'working' | 'waiting') => view({ client: { state, heardMs: TURN_SILENT_MS } })
  assert.equal(nextWakeStep(silent('working')).do, 'try')
  assert.equal(nextWakeStep(silent('waiting')).do, 'wait')
})

test('an agent is sent so much an hour and no more', () => {
  const times = Array.from({ length: WAKES_AN_HOUR }, (_, index) => 10_000_000 - HOUR_MS + 60_000 * (index + 1))
  assert.deepEqual(nextWakeStep(view({ sent: times })), { do: 'wait', what: 'budget', forMs: 60_000 })
  assert.equal(nextWakeStep(view({ sent: times.slice(1) })).do, 'try')
  assert.equal(nextWakeStep(view({ sent: times, now: 10_060_000 })).do, 'try')
})

test('the rung that worked comes first where it is allowed', () => {
  assert.deepEqual(orderedRungs(['inbox_socket', 'rewake', 'tmux'], 'tmux'), ['tmux', 'inbox_socket', 'rewake'])
  assert.deepEqual(orderedRungs(['inbox_socket', 'rewake'], 'tmux'), ['inbox_socket', 'rewake'])
  assert.deepEqual(orderedRungs(['rewake', 'inbox_socket'], null), ['rewake', 'inbox_socket'])
})

test('the setting of the ways to wake knows every rung', () => {
  assert.deepEqual(SETTINGS.S2_WAKE_BY.parse(RUNGS.join(',')), RUNGS)
})

test('of two rungs whose refusals may pass the one that waits longer is due first', () => {
  const tries = [passing('tmux', AGAIN_MS - 100), passing('inbox_socket', AGAIN_MS - 400), refused('rewake')]
  for (const order of [tries, tries.toReversed()])
    assert.deepEqual(nextWakeStep(view({ tries: order })), { do: 'wait', what: 'passing', forMs: 100 })
  const due = [passing('inbox_socket', AGAIN_MS), passing('tmux', 2 * AGAIN_MS), refused('rewake')]
  assert.deepEqual(nextWakeStep(view({ tries: due })), { do: 'try', rung: 'tmux' })
})
