import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type AgentProcess, AgentProcessTable } from '#fleet/agent-processes.ts'

function body(id: string, state: AgentProcess['state'], more: Partial<AgentProcess> = {}): AgentProcess {
  return { id, agent: 'w1', name: `container ${id}`, state, why: '', mayStart: false, ...more }
}

function told(...takes: readonly (readonly AgentProcess[])[]): AgentProcessTable {
  const agentProcesses = new AgentProcessTable()
  for (const take of takes) agentProcesses.take('docker', take, 0)
  return agentProcesses
}

const stateOf = (agentProcesses: AgentProcessTable): string | undefined => agentProcesses.of('w1')?.state

test('a body that was seen alive and then dead is proof; one that was dead before is found so', () => {
  assert.equal(stateOf(told([body('x', 'living')])), 'living')
  assert.equal(stateOf(told([body('x', 'living')], [body('x', 'ended')])), 'ended')
  assert.equal(stateOf(told([body('x', 'hindered')], [body('x', 'ended')])), 'ended')
  assert.equal(stateOf(told([body('x', 'ended')])), 'found_ended')
  assert.equal(stateOf(new AgentProcessTable()), undefined)
})

test('a body that is not there any more has ended, whatever comes after it that is not its agent’s', () => {
  const agentProcesses = told([body('x', 'living')])
  assert.deepEqual(
    agentProcesses.take('docker', [body('y', 'living', { agent: 'w2' })], 0).map(({ id, state }) => `${id} ${state}`),
    ['y living', 'x ended'],
  )
  assert.equal(stateOf(agentProcesses), 'ended')
  agentProcesses.take('docker', [], 0)
  assert.equal(stateOf(agentProcesses), 'ended', 'for as long as nothing else is known')
  assert.deepEqual(
    agentProcesses.take('docker', [body('z', 'living')], 0).map(({ id }) => id),
    ['z'],
  )
  assert.equal(stateOf(agentProcesses), 'living')
})

test('one that was taken from its agent proves nothing', () => {
  assert.equal(stateOf(told([body('x', 'living')], [body('x', 'living', { agent: null })])), undefined)
})

test('a living body outweighs all dead ones, and a well one those that are hindered', () => {
  const agentProcesses = told([body('x', 'living'), body('y', 'living')])
  agentProcesses.take('docker', [body('x', 'ended'), body('y', 'hindered')], 0)
  assert.equal(stateOf(agentProcesses), 'hindered')
  assert.equal(agentProcesses.isHindered('w1'), true)
  agentProcesses.take('tmux', [body('0', 'living')], 0)
  assert.equal(stateOf(agentProcesses), 'living')
  assert.equal(agentProcesses.isHindered('w1'), false)
})

test('unknown is not dead: a supervisor that is lost takes the proof away, not the death', () => {
  const agentProcesses = told([body('x', 'living')])
  agentProcesses.lose('docker')
  assert.equal(stateOf(agentProcesses), undefined)
  agentProcesses.take('tmux', [body('0', 'living')], 0)
  agentProcesses.take('tmux', [body('0', 'ended')], 0)
  assert.equal(stateOf(agentProcesses), undefined, 'the container may live')
  agentProcesses.take('docker', [body('x', 'ended')], 0)
  assert.equal(stateOf(agentProcesses), 'ended', 'what it was before the outage is remembered')
  agentProcesses.lose('docker')
  agentProcesses.lose('nobody')
  assert.deepEqual([stateOf(agentProcesses), agentProcesses.of('w1')?.isKnown], ['ended', false])
  agentProcesses.take('docker', [body('x', 'unknown')], 0)
  assert.equal(stateOf(agentProcesses), undefined)
})

test('after a pause of the observer nothing that lived is known to live', () => {
  const agentProcesses = told([body('x', 'living')])
  agentProcesses.take('tmux', [], 0)
  agentProcesses.doubt()
  assert.equal(stateOf(agentProcesses), undefined)
  agentProcesses.take('tmux', [], 0)
  assert.equal(stateOf(agentProcesses), undefined)
  agentProcesses.take('docker', [body('x', 'living')], 0)
  assert.equal(stateOf(agentProcesses), 'living')
})

test('a death that was refuted proves nothing until the body lived and died again', () => {
  const agentProcesses = told([body('x', 'living')], [body('x', 'ended')])
  agentProcesses.pardon('w1')
  agentProcesses.pardon('nobody')
  assert.equal(stateOf(agentProcesses), undefined)
  agentProcesses.take('docker', [body('x', 'ended')], 0)
  assert.equal(stateOf(agentProcesses), undefined)
  agentProcesses.take('docker', [], 0)
  assert.equal(stateOf(agentProcesses), undefined)
  agentProcesses.take('docker', [body('x', 'living')], 0)
  agentProcesses.take('docker', [body('x', 'ended')], 0)
  assert.equal(stateOf(agentProcesses), 'ended')
})
