/** An incident ends when its cause ended, and its outcome says what is over, and of what. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { FOREIGN_INCARNATION } from '#fleet/beat.ts'
import { isEvent } from '#fleet/incident.ts'
import { sessionId } from '#fleet/session-id.ts'
import { CONFIG, Stage, Supervisor } from './stage.ts'

const { silentAfterMs: SILENT, lateAfterMs: LATE, roundMs: ROUND } = CONFIG
const SECOND = 1_000
const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** What was said of the end of each incident, by its cause. */
async function outcomes(stage: Stage): Promise<Record<string, string | null>> {
  const all = (await stage.store.incidents({ open: false })).filter((each) => !isEvent(each))
  return Object.fromEntries(
    all.filter(({ closedAt }) => closedAt !== null).map(({ cause, outcome }) => [cause, outcome]),
  )
}

async function summaryOf(stage: Stage, cause: string): Promise<string> {
  const all = await stage.store.incidents({ open: false })
  return all.findLast((each) => each.cause === cause)?.summary ?? `no incident ${cause}`
}

/** Makes an agent a worker of the registry, with the conversation that it beats by. */
async function admit(stage: Stage, agent: string): Promise<void> {
  const digest = createHash('sha256').update(agent).digest()
  const letters = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
  const tail = Array.from({ length: 58 }, (_, index) => letters[(digest[index % 32] as number) % 32]).join('')
  await stage.store.admitWorker({
    agent,
    key: digest.toString('base64url'),
    recipient: `age1${tail}`,
    host: `host-${agent}`,
    secretHash: null,
    role: 'any',
    orchestrator: 'boss',
    lifetimeMs: 3 * HOUR,
  })
}

/** A worker of the registry that beats. */
async function joinAsWorker(stage: Stage, agent: string): Promise<string> {
  await admit(stage, agent)
  const { conversation } = (await stage.store.workers()).find((each) => each.agent === agent) ?? {}
  assert.ok(conversation)
  await stage.join(agent, 'any', conversation)
  return conversation
}

test('a conversation that ends takes its agent from the fleet, and not what became of the agent', async () => {
  await using stage = await Stage.open(3)
  stage.watchdog()
  await stage.run(20 * SECOND)
  stage.silence('w2')
  await stage.run(2 * MINUTE)
  await stage.store.endConversation(stage.actor('w2').session.slice(0, -2))
  await stage.run(5 * ROUND)
  assert.deepEqual(Object.keys(await stage.verdicts()).sort(), ['boss', 'w1', 'w3'])
  assert.deepEqual(await stage.incidents(), ['silent:w2'], 'nobody heard it')
  await stage.rejoin('w2')
  stage.heal('w2')
  await stage.run(ROUND)
  assert.deepEqual(await stage.incidents(), ['-silent:w2'])
  assert.match((await outcomes(stage))['silent:w2'] ?? '', /^w2 was heard again after [67]m on host-w2$/)
})

test('a worker that was revoked is not waited for, and one that was renamed is looked at by its name', async () => {
  await using stage = await Stage.open(4)
  stage.watchdog()
  for (const name of ['x1', 'x2']) await joinAsWorker(stage, name)
  await stage.run(20 * SECOND)
  stage.silence('x1', 'x2')
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.open(), ['silent:x1', 'silent:x2'])
  await stage.store.revokeWorker('x1')
  await stage.store.renameWorker('x2', { agent: 'x9' })
  await stage.run(ROUND + SECOND)
  const { 'silent:x1': revoked, 'silent:x2': renamed } = await outcomes(stage)
  assert.deepEqual([revoked, renamed], ['x1 was revoked', 'x2 is called x9 now'])
  await stage.run(SILENT)
  assert.deepEqual(await stage.open(), ['silent:x9'])
})

test('a person ends the incident of an agent that will not come back', async () => {
  await using stage = await Stage.open(3)
  stage.watchdog()
  await stage.run(20 * SECOND)
  stage.silence('w2')
  await stage.run(2 * MINUTE)
  await stage.store.endConversation(stage.actor('w2').session.slice(0, -2))
  await stage.run(2 * ROUND)
  await stage.store.closeIncident('silent:w2', ['log'], 'silent:w2 was closed by hand')
  await stage.run(10 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['-silent:w2'])
})

test('each end says what is over: an agent that is heard, a bridge that collects, a supervisor that answers', async () => {
  await using stage = await Stage.open(4)
  const engine = new Supervisor()
  for (const name of stage.actors.keys()) engine.set(name, 'living')
  stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w3', 'ended')
  stage.silence('w1')
  stage.actor('w1').host = 'h2'
  await stage.run(SILENT + 10 * SECOND)
  engine.isAway = true
  engine.hint()
  await stage.run(12 * MINUTE)
  stage.heal('w1')
  engine.isAway = false
  engine.set('w3', 'living')
  await stage.run(10 * SECOND)
  stage.collects = false
  await stage.run(LATE + 42 * SECOND)
  stage.collects = true
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.open(), [])
  const said = await outcomes(stage)
  assert.equal(said['silent:w1'], 'w1 was heard again after 12m on h2')
  assert.match(said['gone:w3'] ?? '', /^w3 was heard again after 1[34]m on host-w3$/)
  assert.equal(said['supervisor_away:fake'], 'fake answers again after 12m')
  assert.match(said.blind ?? '', /^the bridge collects beats again after 4[0-9]s$/)
})

test('every incident that a watchdog closes has an outcome', async () => {
  await using stage = await Stage.open(1)
  const engine = new Supervisor()
  engine.set('w1', 'living', { mayStart: true })
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended', { mayStart: true })
  await stage.run(20 * MINUTE)
  await stage.join('w2')
  await stage.join('w3')
  await stage.run(MINUTE)
  assert.equal((await stage.holders()).t1, 'w2')
  stage.silence('w2')
  await stage.run(2 * MINUTE)
  stage.actor('w1').incarnation = 'second'
  engine.set('w1', 'living', { mayStart: true })
  stage.heal('w2')
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.open(), [])
  const ends = Object.entries(await outcomes(stage))
  const kinds = new Set(ends.map(([cause]) => cause.split(':')[0]))
  assert.deepEqual([...kinds].sort(), ['gone', 'restart', 'restarts_exhausted', 'silent', 'task_stranded'])
  assert.deepEqual(
    ends.filter(([, outcome]) => outcome === null),
    [],
  )
  assert.deepEqual(watchdog.errors, [])
})

test('a watchdog that has just begun does not end what it has not looked into: supervisors, twins', async () => {
  await using stage = await Stage.open(3)
  const engine = new Supervisor()
  engine.set('w1', 'living')
  const first = stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.isAway = true
  engine.hint()
  for (let n = 0; n < 10; n += 1) {
    stage.actor('w2').incarnation = n % 2 === 0 ? 'one' : 'other'
    await stage.run(5 * SECOND)
  }
  assert.deepEqual(await stage.open(), ['supervisor_away:fake', 'twins:w2'])
  await first.stop()
  stage.watchdog({ sources: [engine] })
  stage.watchdog() // knows no supervisor
  await stage.run(2 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['supervisor_away:fake', 'twins:w2'])
  engine.isAway = false
  await stage.run(10 * MINUTE)
  assert.deepEqual(await outcomes(stage), {
    'supervisor_away:fake': 'fake answers again after 3m',
    'twins:w2': 'w2 has run in one place only for 10m',
  })
})

test('an incident tells of tasks only if there are any, and of how many', async () => {
  await using stage = await Stage.open(6)
  stage.watchdog()
  await stage.addTask('t1', 'w1')
  await stage.addTask('t2', 'w1')
  await stage.addTask('t3', 'w2')
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2', 'w3')
  await stage.run(2 * MINUTE)
  assert.equal(
    await summaryOf(stage, 'silent:w1'),
    'w1 on host-w1 was not heard for 1m; its 2 tasks go to other agents',
  )
  assert.equal(
    await summaryOf(stage, 'silent:w2'),
    'w2 on host-w2 was not heard for 1m; its task goes to another agent',
  )
  assert.equal(await summaryOf(stage, 'silent:w3'), 'w3 on host-w3 was not heard for 1m')
})

test('an incident names the limit that was applied: a Python agent may be unheard for twice as long', async () => {
  await using stage = await Stage.open(4)
  stage.watchdog()
  const python = await stage.join('py')
  python.incarnation = FOREIGN_INCARNATION
  await stage.run(20 * SECOND)
  stage.silence('py')
  await stage.run(SILENT + 10 * SECOND)
  assert.deepEqual(await stage.open(), [])
  await stage.run(SILENT)
  assert.equal(await summaryOf(stage, 'silent:py'), 'py on host-py was not heard for 2m')
})

test('a mass silence stays one incident for nine hours, also when the conversations end, and its numbers are right', async () => {
  await using stage = await Stage.open(8)
  const watchdog = stage.watchdog()
  await stage.run(20 * SECOND)
  stage.silence('w1', 'w2', 'w3', 'w4', 'w5', 'w6')
  await stage.run(3 * HOUR)
  for (const name of ['w1', 'w2', 'w3']) await stage.store.endConversation(stage.actor(name).session.slice(0, -2))
  await stage.run(6 * HOUR)
  assert.deepEqual(await stage.incidents(), ['mass_silence'])
  for (const name of ['w1', 'w2', 'w3']) await stage.rejoin(name)
  stage.heal('w1', 'w2', 'w4', 'w5', 'w6')
  await stage.run(2 * MINUTE)
  const [incident] = (await stage.store.incidents({ open: false })).filter(({ kind }) => kind === 'mass_silence')
  assert.equal(incident?.outcome, '5 of the 6 agents that were lost together are heard again after 9h 0m; not yet: w3')
  const told = (event: string): number =>
    watchdog.said(event).filter(({ fields }) => fields.cause === 'mass_silence').length
  assert.deepEqual(
    ['incident opened', 'incident lasts', 'incident closed'].map(told),
    [1, 2, 1],
    'told again after one hour and after eight',
  )
})

test('an agent that is renamed in a mass silence, or revoked, is not waited for', async () => {
  await using stage = await Stage.open(2)
  stage.watchdog()
  const ids = [await joinAsWorker(stage, 'x1'), await joinAsWorker(stage, 'x2'), await joinAsWorker(stage, 'x3')]
  assert.equal(new Set(ids.map((id) => sessionId(id, 'b'))).size, 3)
  await stage.run(20 * SECOND)
  stage.silence('w1', 'x1', 'x2', 'x3')
  await stage.run(5 * MINUTE)
  assert.deepEqual(await stage.open(), ['mass_silence'])
  for (const name of ['x1', 'x2', 'x3']) await stage.store.revokeWorker(name)
  await stage.run(2 * ROUND)
  const { mass_silence: outcome } = await outcomes(stage)
  assert.match(
    outcome ?? '',
    /^0 of the 4 agents that were lost together are heard again after [67]m; 3 left the fleet; not yet: w1$/,
  )
})
