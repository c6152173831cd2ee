/** What a client is thought to do: what has held, or was said twice, by a clock that the test moves. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientActivity, ClientActivityState } from '#fleet/client-activity.ts'
import { ClientObserver } from '#fleet/client-observer.ts'
import type { SessionId } from '#fleet/session-id.ts'

const ONE: SessionId = 'conv_w1/b'
const TWO: SessionId = 'conv_w1more/b'
const agentOf = (session: SessionId): string | undefined => (session.startsWith('conv_w1') ? 'w1' : undefined)

function activity(state: ClientActivityState, what: string | null = null, until: number | null = null): ClientActivity {
  return { state, what, until }
}

class Host {
  readonly clients = new ClientObserver()
  #version = 0

  say(now: number, said: ClientActivity | null, session = ONE): void {
    this.#version += 1
    const beat = { session, host: 'h', incarnation: 'one', seq: this.#version, work: 0, version: this.#version }
    this.clients.hear([said === null ? beat : { ...beat, activity: said }], agentOf, now)
  }

  shown(now: number): string | null {
    this.clients.settle(now)
    const found = this.clients.of('w1')
    return found === null ? null : `${found.activity.state} ${found.since}`
  }
}

test('a state is shown once it has held for a moment, however often it is said', () => {
  const host = new Host()
  host.say(0, activity('working'))
  assert.equal(host.shown(1_999), null)
  assert.equal(host.clients.isSettled('w1'), false)
  assert.equal(host.shown(2_000), 'working 0')
  assert.equal(host.clients.isSettled('w1'), true)
  host.say(5_000, activity('idle'))
  assert.equal(host.shown(5_100), 'working 0')
  host.say(5_200, activity('idle'))
  assert.equal(host.shown(6_999), 'working 0')
  assert.equal(host.shown(7_000), 'idle 5000')
})

test('a dialog that is answered at once is never shown', () => {
  const host = new Host()
  host.say(0, activity('working'))
  assert.equal(host.shown(2_000), 'working 0')
  host.say(10_000, activity('waiting', 'permission prompt'))
  assert.equal(host.shown(11_000), 'working 0')
  host.say(11_500, activity('working'))
  assert.equal(host.shown(20_000), 'working 0')
})

test('an end has to hold, however often it is said; a client that is started again was never gone', () => {
  const host = new Host()
  host.say(0, activity('gone'))
  host.say(100, activity('gone'))
  assert.equal(host.shown(999), null)
  host.say(1_000, activity('working'))
  assert.equal(host.shown(3_000), 'working 1000')
  host.say(5_000, activity('gone'))
  assert.equal(host.shown(5_999), 'working 1000')
  assert.equal(host.shown(6_000), 'gone 5000')
})

test('another dialog is another wait, and another word of the same state is none', () => {
  const host = new Host()
  host.say(0, activity('waiting', 'one'))
  assert.equal(host.shown(2_000), 'waiting 0')
  host.say(10_000, activity('waiting', 'two'))
  assert.equal(host.shown(11_999), 'waiting 0')
  assert.equal(host.shown(12_000), 'waiting 10000')
  host.say(20_000, activity('working', 'Bash'))
  host.say(21_900, activity('working', 'Edit'))
  assert.equal(host.shown(22_000), 'working 20000')
})

test('a host that says nothing of a client any more takes back what it said', () => {
  const host = new Host()
  host.say(0, activity('idle'))
  assert.equal(host.shown(2_000), 'idle 0')
  for (const at of [5_000, 10_000]) host.say(at, null)
  assert.equal(host.shown(10_000), null)
  assert.equal(host.clients.isSettled('w1'), true)
})

test('of two clients of an agent the one counts that can do more', () => {
  const host = new Host()
  for (const at of [0, 1]) {
    host.say(at, activity('gone'))
    host.say(at, activity('idle'), TWO)
  }
  assert.equal(host.shown(2_000), 'idle 0')
  host.say(3_000, activity('waiting', 'question'))
  assert.equal(host.shown(6_000), 'waiting 3000')
})

test('a pause of the observer proves an end no more, and what was about to count has to hold anew', () => {
  const host = new Host()
  host.say(0, activity('gone'))
  assert.equal(host.shown(1_000), 'gone 0')
  host.clients.grace(100_000)
  assert.equal(host.shown(200_000), null)
  host.say(200_000, activity('gone'))
  assert.equal(host.shown(200_999), null)
  assert.equal(host.shown(201_000), 'gone 200000')
  host.say(210_000, activity('idle'))
  host.clients.grace(300_000)
  assert.equal(host.shown(300_001), null)
  host.say(300_002, activity('idle'))
  assert.equal(host.shown(300_002), null)
})

test('what a client does is known once it has held, and after a pause once it was said again', () => {
  const host = new Host()
  assert.equal(host.clients.isKnown('w1'), true, 'nobody says anything of a client')
  host.say(0, activity('working'))
  host.shown(1_999)
  assert.equal(host.clients.isKnown('w1'), false)
  host.shown(2_000)
  assert.equal(host.clients.isKnown('w1'), true)
  host.say(3_000, activity('idle'))
  assert.equal(host.clients.isKnown('w1'), true, 'what it did is known')
  host.clients.grace(90_000)
  assert.equal(host.clients.isKnown('w1'), false)
  host.say(91_000, activity('logged_out'))
  host.shown(92_000)
  assert.equal(host.clients.isKnown('w1'), false, 'it may be over at once')
  host.shown(93_000)
  assert.equal(host.clients.isKnown('w1'), true)
  host.clients.grace(200_000)
  host.say(201_000, activity('logged_out'))
  assert.equal(host.clients.isKnown('w1'), true, 'it does what it did')
})

test('limits, logins and long overloads keep an agent from work; when a limit ends it tries', () => {
  const host = new Host()
  const states = (now: number): string[] =>
    host.clients.conditions(now, now).map(({ state, why }) => `${state}: ${why}`)
  host.say(0, activity('parked', 'usage limit', 60_000))
  host.clients.settle(2_000)
  assert.deepEqual(states(59_999), ['parked: usage limit'])
  assert.deepEqual(states(60_000), ['probing: usage limit'])
  host.say(70_000, activity('logged_out'))
  host.clients.settle(72_000)
  assert.deepEqual(states(72_000), ['parked: nobody is logged in at its client'])
  host.say(80_000, activity('overloaded', '529'))
  host.clients.settle(82_000)
  assert.deepEqual(states(199_999), [])
  assert.deepEqual(states(200_000), ['parked: 529'])
  host.say(210_000, activity('working'))
  host.clients.settle(212_000)
  assert.deepEqual(states(212_000), [])
})

test('sessions of nobody are forgotten', () => {
  const host = new Host()
  host.say(0, activity('idle'))
  host.clients.settle(2_000)
  host.clients.forgetUnknown(() => undefined)
  assert.equal(host.clients.of('w1'), null)
  assert.deepEqual([...host.clients.agents()], [])
})
