import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AgentProcess, AgentProcessTable } from '#fleet/agent-processes.ts'

function body(id: string, state: AgentProcess['state'], more: Partial<AgentProcess> = {}): AgentProcess {
  return { id, agent: 'w1', name: `container ${id}`, state, why: '', mayStart: false, ...more }
}

function told(...takes: readonly (readonly AgentProcess[])[]): AgentProcessTable {
  const bodies = new AgentProcessTable()
  for (const take of takes) bodies.take('docker', take)
  return bodies
}

const stateOf = (bodies: AgentProcessTable): string | undefined => bodies.of('w1')?.state

test('a body that was seen alive and then dead is proof; one that was dead before is found so', () => {
  assert.equal(stateOf(told([body('x', 'living')])), 'living')
  assert.equal(stateOf(told([body('x', 'living')], [body('x', 'ended')])), 'ended')
  assert.equal(stateOf(told([body('x', 'hindered')], [body('x', 'ended')])), 'ended')
  assert.equal(stateOf(told([body('x', 'ended')])), 'found_ended')
  assert.equal(stateOf(new AgentProcessTable()), undefined)
})

test('a body that is not there any more has ended, whatever comes after it that is not its agent’s', () => {
  const bodies = told([body('x', 'living')])
  assert.deepEqual(
    bodies.take('docker', [body('y', 'living', { agent: 'w2' })]).map(({ id, state }) => `${id} ${state}`),
    ['y living', 'x ended'],
  )
  assert.equal(stateOf(bodies), 'ended')
  bodies.take('docker', [])
  assert.equal(stateOf(bodies), 'ended', 'for as long as nothing else is known')
  assert.deepEqual(
    bodies.take('docker', [body('z', 'living')]).map(({ id }) => id),
    ['z'],
  )
  assert.equal(stateOf(bodies), 'living')
})

test('one that was taken from its agent proves nothing', () => {
  assert.equal(stateOf(told([body('x', 'living')], [body('x', 'living', { agent: null })])), undefined)
})

test('a living body outweighs all dead ones, and a well one those that are hindered', () => {
  const bodies = told([body('x', 'living'), body('y', 'living')])
  bodies.take('docker', [body('x', 'ended'), body('y', 'hindered')])
  assert.equal(stateOf(bodies), 'hindered')
  assert.equal(bodies.isHindered('w1'), true)
  bodies.take('tmux', [body('0', 'living')])
  assert.equal(stateOf(bodies), 'living')
  assert.equal(bodies.isHindered('w1'), false)
})

test('unknown is not dead: a supervisor that is lost takes the proof away, not the death', () => {
  const bodies = told([body('x', 'living')])
  bodies.lose('docker')
  assert.equal(stateOf(bodies), undefined)
  bodies.take('tmux', [body('0', 'living')])
  bodies.take('tmux', [body('0', 'ended')])
  assert.equal(stateOf(bodies), undefined, 'the container may live')
  bodies.take('docker', [body('x', 'ended')])
  assert.equal(stateOf(bodies), 'ended', 'what it was before the outage is remembered')
  bodies.lose('docker')
  bodies.lose('nobody')
  assert.deepEqual([stateOf(bodies), bodies.of('w1')?.isKnown], ['ended', false])
  bodies.take('docker', [body('x', 'unknown')])
  assert.equal(stateOf(bodies), undefined)
})

test('after a pause of the observer nothing that lived is known to live', () => {
  const bodies = told([body('x', 'living')])
  bodies.take('tmux', [])
  bodies.doubt()
  assert.equal(stateOf(bodies), undefined)
  bodies.take('tmux', [])
  assert.equal(stateOf(bodies), undefined)
  bodies.take('docker', [body('x', 'living')])
  assert.equal(stateOf(bodies), 'living')
})

test('a death that was refuted proves nothing until the body lived and died again', () => {
  const bodies = told([body('x', 'living')], [body('x', 'ended')])
  bodies.pardon('w1')
  bodies.pardon('nobody')
  assert.equal(stateOf(bodies), undefined)
  bodies.take('docker', [body('x', 'ended')])
  assert.equal(stateOf(bodies), undefined)
  bodies.take('docker', [])
  assert.equal(stateOf(bodies), undefined)
  bodies.take('docker', [body('x', 'living')])
  bodies.take('docker', [body('x', 'ended')])
  assert.equal(stateOf(bodies), 'ended')
})
