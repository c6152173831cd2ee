/** Which session sends a message, and how it is addressed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '#console/failure.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { allAgents } from '#fleet/peer-messages.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type Route, routeInFleet, type Wanted } from '../../services/cli/message-route.ts'

function conversation(number: number, worker: string, role = 'tests'): Conversation {
  return {
    id: `conv_000000000000000${number}`,
    roles: { a: 'lead', b: role },
    agents: { a: 'orchestrator', b: worker },
    createdAt: number,
    expiresAt: 10,
  }
}

const FLEET = [conversation(1, 'w-1'), conversation(2, 'w-2', 'docs')]
const [A1, B1, A2] = ['conv_0000000000000001/a', 'conv_0000000000000001/b', 'conv_0000000000000002/a'] as SessionId[]

/** What a worker sees is its own conversation; the names of the others it has from the list of agents. */
function route(wanted: Partial<Wanted>, own: readonly SessionId[] | null, seen = FLEET): Promise<Route> {
  const store = { listAgents: async () => allAgents(FLEET, []) }
  return routeInFleet(store, { to: null, role: null, from: undefined, ...wanted }, seen, own)
}

test('a worker writes to its orchestrator by its conversation, and to another worker by its name', async () => {
  const seen = FLEET.slice(0, 1)
  const own = [B1 as SessionId]
  assert.deepEqual(await route({ to: 'orchestrator' }, own, seen), { from: B1, to: null })
  assert.deepEqual(await route({ to: 'w-2' }, own, seen), { from: B1, to: { agent: 'w-2' } })
  assert.deepEqual(await route({ to: 'w-2', from: B1 as string }, own, seen), { from: B1, to: { agent: 'w-2' } })
  assert.deepEqual(await route({ role: 'docs' }, own, seen), { from: B1, to: { role: 'docs' } })
  await assert.rejects(route({ to: 'w-9' }, own, seen), { code: 'not_found' })
})

test('an orchestrator writes by the conversation of each, and to a role by any', async () => {
  const own = [A1, A2] as SessionId[]
  assert.deepEqual(await route({ to: 'w-2' }, own), { from: A2, to: null })
  assert.deepEqual(await route({ to: 'docs' }, own), { from: A2, to: null }, 'the one agent of a role')
  assert.deepEqual(await route({ role: 'tests' }, own), { from: A1, to: { role: 'tests' } })
  assert.deepEqual(await route({ to: 'w-2' }, null), { from: A2, to: null }, 'the administration sends for it')
})

test('who has several sessions says which of them writes to a role', async () => {
  await assert.rejects(route({ role: 'tests' }, [A1, 'conv_0000000000000002/b'] as SessionId[]), UsageError)
  await assert.rejects(route({ role: 'tests' }, []), UsageError)
})

test('at a bridge that knows no other agents, their names lead nowhere', async () => {
  const store = { listAgents: () => Promise.reject(new S2Error('not_found', 'there is nothing at /v1/listAgents')) }
  const wanted = { to: 'w-2', role: null, from: undefined }
  await assert.rejects(routeInFleet(store, wanted, FLEET.slice(0, 1), [B1 as SessionId]), /no agent or session here/)
})
