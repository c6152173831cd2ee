import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientSession } from '#agents/client-session.ts'
import type { ClientActivityState } from '#fleet/client-activity.ts'
import { processStart } from '#runtime/process-stat.ts'
import { chooseSession, hasClientEnded } from '../../services/fs-watcher/choose-session.ts'
import { sampleSession } from '../core/agents/sample-session.ts'

const OWN = { pid: process.pid, startTicks: processStart(process.pid) ?? '' }
const DEAD = { ...OWN, startTicks: '1' }
const MEANT = 'conv_00000000000000aa/b'
const choice = { covers: (session: string) => session === MEANT, takesUnnamed: false }

function at(state: ClientActivityState, id: string, fields: Partial<ClientSession> = {}): ClientSession {
  return sampleSession({ id, session: MEANT, process: OWN, activity: { state, what: null, until: null }, ...fields })
}

test('of the sessions that are meant one that idles comes first, then one at work, then one at a dialog, then one that ended', () => {
  // Those that come later were heard of later, save where only that tells them apart.
  const order = [
    at('idle', 'idle', { heardAt: 0 }),
    at('working', 'working', { heardAt: 2 }),
    at('overloaded', 'overloaded', { heardAt: 1 }),
    at('waiting', 'waiting', { heardAt: 5 }),
    at('parked', 'parked', { heardAt: 4 }),
    at('logged_out', 'logged out', { heardAt: 3 }),
    at('idle', 'dead', { process: DEAD, heardAt: 9 }),
  ]
  for (let first = 0; first < order.length; first += 1) {
    const left = order.slice(first).toReversed()
    assert.equal(chooseSession(left, choice)?.id, order[first]?.id)
  }
  assert.equal(chooseSession([], choice), null)
})

test('of those that do the same, the one that was heard of last', () => {
  const sessions = [
    at('idle', 'one', { heardAt: 1 }),
    at('idle', 'two', { heardAt: 3 }),
    at('idle', 'three', { heardAt: 2 }),
  ]
  assert.equal(chooseSession(sessions, choice)?.id, 'two')
})

test('a session of another is none, and one without a name only where one agent alone works', () => {
  const sessions = [
    at('idle', 'other', { session: 'conv_00000000000000bb/b' }),
    at('working', 'unnamed', { session: null }),
  ]
  assert.equal(chooseSession(sessions, choice), null)
  assert.equal(chooseSession(sessions, { ...choice, takesUnnamed: true })?.id, 'unnamed')
})

test('a client has ended when its process has, and without one when it said so', () => {
  assert.equal(hasClientEnded(at('gone', 'one')), false, 'it was resumed')
  assert.equal(hasClientEnded(at('idle', 'one', { process: DEAD })), true)
  assert.equal(hasClientEnded(at('gone', 'one', { process: null })), true)
  assert.equal(hasClientEnded(at('idle', 'one', { process: null })), false)
})
