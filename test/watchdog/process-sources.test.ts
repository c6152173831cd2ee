import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { CONFIG, Stage, Supervisor } from './stage.ts'

const { lateAfterMs: LATE } = CONFIG
const SECOND = 1_000
const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** A fleet whose workers all run in bodies of one supervisor. */
async function withBodies(
  count: number,
  more: { mayStart?: boolean } = {},
): Promise<{ stage: Stage; engine: Supervisor }> {
  const stage = await Stage.open(count)
  const engine = new Supervisor()
  for (const name of stage.actors.keys()) engine.set(name, 'living', more)
  return { stage, engine }
}

test('death is a verdict at once, though the daemon beats on, and the work is another’s within the second', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.addTask('t1', 'w1')
  await stage.addTask('t2', 'w1')
  await stage.run(20 * SECOND)
  const at = stage.clock.now()
  engine.set('w1', 'ended', { why: 'exit code 137, out of memory' })
  await stage.run(SECOND)
  const [gone] = watchdog.changes
  assert.deepEqual([gone?.agent, gone?.to, gone?.at, gone?.passedAt], ['w1', 'gone', at, at])
  assert.equal((await stage.verdicts()).w1, 'gone')
  assert.ok(Object.values(await stage.holders()).every((holder) => holder !== 'w1'))
  assert.equal(watchdog.moved, 2)
  const [incident] = await stage.store.incidents({ open: true })
  assert.equal(incident?.cause, 'gone:w1')
  assert.match(
    incident?.summary ?? '',
    /^w1 on host-w1 is gone \(body w1: exit code 137, out of memory\); its 2 tasks go to other agents$/,
  )
  const moved = (await stage.store.audit(0, 1_000)).filter(({ action }) => action === 'task_moved')
  assert.deepEqual(
    moved.map(({ details }) => details.reason),
    ['gone', 'gone'],
  )
  await stage.run(10 * MINUTE)
  assert.equal((await stage.verdicts()).w1, 'gone', 'its daemon does not vouch for it')
})

test('gone, and later silent too, is one incident; it is over when the body lives and the agent is heard', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended')
  await stage.run(2 * SECOND)
  stage.silence('w1')
  await stage.run(10 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['gone:w1'])
  engine.set('w1', 'living')
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.open(), ['gone:w1'], 'nobody heard it yet')
  stage.heal('w1')
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['-gone:w1'])
  assert.equal(watchdog.said('incident opened').length, 1)
  assert.equal((await stage.verdicts()).w1, 'alive')
})

test('silent, and later known to be dead, is one incident too', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  stage.silence('w1')
  await stage.run(2 * MINUTE)
  engine.set('w1', 'ended')
  await stage.run(MINUTE)
  assert.deepEqual(await stage.incidents(), ['silent:w1'])
  assert.equal((await stage.verdicts()).w1, 'gone')
  stage.heal('w1')
  stage.actor('w1').incarnation = 'second'
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['-silent:w1'], 'a new life ends it, wherever that is')
  await stage.run(MINUTE)
  assert.equal((await stage.verdicts()).w1, 'alive', 'the old body proves nothing any more')
})

test('who is back before its work was moved keeps it, and nobody is told', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended')
  await stage.run(200)
  engine.set('w1', 'living')
  await stage.run(MINUTE)
  assert.deepEqual([watchdog.moved, await stage.incidents()], [0, []])
  assert.deepEqual(
    watchdog.said('verdict passed').map(({ fields }) => fields.to),
    ['gone', 'alive'],
  )
})

test('an engine that stops takes most with it: nothing is moved, nothing started, one incident', async () => {
  const { stage, engine } = await withBodies(6, { mayStart: true })
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  for (const name of stage.actors.keys()) await stage.addTask(`t-${name}`, name)
  await stage.run(20 * SECOND)
  for (const name of ['w1', 'w2', 'w3', 'w4', 'w5']) {
    engine.set(name, 'ended', { mayStart: true })
    await stage.run(50)
  }
  await stage.run(10 * MINUTE)
  assert.deepEqual([watchdog.moved, engine.started], [0, []])
  assert.deepEqual(await stage.open(), ['mass_silence'])
  for (const name of ['w1', 'w2', 'w3', 'w4', 'w5']) engine.set(name, 'living')
  await stage.run(MINUTE)
  assert.deepEqual([watchdog.moved, await stage.open()], [0, []])
})

test('unknown is not dead: while the engine is away nobody is judged by it, and when it is back it is asked again', async () => {
  const { stage, engine } = await withBodies(5)
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  engine.isAway = true
  engine.hint()
  await stage.run(SECOND)
  engine.set('w1', 'ended')
  engine.remove('w2')
  await stage.run(MINUTE)
  assert.deepEqual([watchdog.changes, watchdog.moved], [[], 0])
  assert.deepEqual(await stage.open(), ['supervisor_away:fake'])
  engine.isAway = false
  await stage.run(6 * SECOND)
  assert.deepEqual(watchdog.changes.map(({ agent, to }) => `${agent} ${to}`).sort(), ['w1 gone', 'w2 gone'])
  assert.notEqual((await stage.holders()).t1, 'w1')
  assert.deepEqual(await stage.open(), ['gone:w1', 'gone:w2'])
})

test('who is paused or unwell is not dead; it gets no work, and when it falls silent it is said why', async () => {
  const { stage, engine } = await withBodies(3)
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w1', 'hindered', { why: 'is paused' })
  await stage.run(SECOND)
  for (const id of ['t1', 't2', 't3', 't4']) await stage.addTask(id, null)
  await stage.run(MINUTE)
  assert.ok(Object.values(await stage.holders()).every((holder) => holder !== null && holder !== 'w1'))
  assert.deepEqual(watchdog.changes, [])
  stage.silence('w1')
  await stage.run(2 * MINUTE)
  const [incident] = await stage.store.incidents({ open: true })
  assert.match(incident?.summary ?? '', /^w1 on host-w1 was not heard for 1m \(body w1: is paused\)/)
})

test('after its own pause the watchdog asks before it calls anybody dead, and repeats no alert', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended')
  await stage.run(5 * SECOND)
  watchdog.life.stop()
  await stage.run(MINUTE)
  engine.set('w1', 'living')
  engine.set('w2', 'ended')
  await stage.run(MINUTE)
  watchdog.life.goOn()
  await stage.run(10 * SECOND)
  assert.deepEqual([(await stage.verdicts()).w1, (await stage.verdicts()).w2], ['alive', 'gone'])
  assert.deepEqual(await stage.incidents(), ['-gone:w1', 'gone:w2'])
})

test('after its own pause, what it knew before convicts nobody anew', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended')
  await stage.run(5 * SECOND)
  watchdog.life.stop()
  await stage.run(MINUTE)
  engine.set('w1', 'living')
  engine.isAway = true
  watchdog.life.goOn()
  await stage.run(10 * SECOND)
  assert.equal((await stage.verdicts()).w1, 'alive')
  assert.equal(watchdog.changes.filter(({ to }) => to === 'gone').length, 1)
})

test('a restarted watchdog finds the dead again by asking, and no alert is repeated', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  const first = stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended')
  await stage.run(5 * SECOND)
  await first.stop()
  engine.set('w2', 'ended') // nobody saw it: its beats count
  await stage.run(MINUTE)
  const second = stage.watchdog({ sources: [engine] })
  await stage.run(2 * MINUTE)
  const { w1, w2 } = await stage.verdicts()
  assert.deepEqual([w1, w2], ['gone', 'alive'])
  assert.equal(second.said('incident opened').length, 0)
  engine.set('w1', 'living')
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['-gone:w1'])
})

test('a watchdog that cannot know leaves the incident of a death to those who can', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  const first = stage.watchdog({ sources: [engine] })
  stage.watchdog()
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended')
  await stage.run(5 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['gone:w1'])
  assert.equal(first.said('incident opened').length + first.said('incident closed').length, 1)
  stage.actor('w1').incarnation = 'second'
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.incidents(), ['-gone:w1'])
})

test('two watchdogs, one of which knows: gone and silent is one incident, also before the other has read of it', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  stage.watchdog({ sources: [engine] })
  await stage.run(5 * SECOND)
  stage.watchdog() // it reads incidents at 5 s and at 65 s
  await stage.run(8 * SECOND)
  stage.silence('w1') // silent at 70 s
  await stage.run(55 * SECOND)
  engine.set('w1', 'ended')
  await stage.run(5 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['gone:w1'])
})

test('the last rung: who may be is started again, once by however many watchdogs, and the claim is in the audit chain', async () => {
  const { stage, engine } = await withBodies(4, { mayStart: true })
  await using _ = stage
  engine.isAway = true // nothing is known when they begin
  for (let n = 0; n < 3; n += 1) stage.watchdog({ sources: [engine] })
  await stage.addTask('t1', 'w1')
  await stage.run(5 * SECOND)
  engine.isAway = false
  await stage.run(15 * SECOND)
  engine.onStart = (id) => {
    stage.actor(id).incarnation = 'second'
    engine.set(id, 'living', { mayStart: true })
  }
  engine.set('w1', 'ended', { mayStart: true })
  engine.set('w2', 'ended')
  await stage.run(CONFIG.restartAfterMs - SECOND)
  assert.deepEqual(engine.started, [])
  await stage.run(5 * SECOND)
  assert.deepEqual(engine.started, ['w1'], 'and not the one whose owner did not allow it')
  assert.notEqual((await stage.holders()).t1, 'w1')
  await stage.run(MINUTE)
  assert.deepEqual(await stage.incidents(), ['-gone:w1', '-restart:w1', 'gone:w2'])
  const opened = (await stage.store.audit(0, 1_000)).filter(({ action }) => action === 'incident_opened')
  assert.equal(opened.filter(({ details }) => details.cause === 'restart:w1').length, 1)
})

test('restarts back off, are capped within an hour, and then a human is asked, once', async () => {
  const { stage, engine } = await withBodies(4, { mayStart: true })
  await using _ = stage
  const watchdogs = [stage.watchdog({ sources: [engine] }), stage.watchdog({ sources: [engine] })]
  await stage.run(20 * SECOND)
  const startedAt: number[] = []
  engine.onStart = () => startedAt.push(stage.clock.now())
  engine.set('w1', 'ended', { mayStart: true, why: 'exit code 1' })
  await stage.run(HOUR / 2)
  assert.equal(engine.started.length, CONFIG.restartsMax)
  const [first = 0, second = 0, third = 0] = startedAt
  assert.ok(second - first >= MINUTE && third - second >= MINUTE)
  assert.deepEqual(await stage.open(), ['gone:w1', 'restarts_exhausted:w1'])
  const told = watchdogs.flatMap((each) => each.said('incident opened')).map(({ fields }) => fields.cause)
  assert.deepEqual(told.sort(), ['gone:w1', 'restarts_exhausted:w1'])
  await stage.run(HOUR + MINUTE)
  assert.equal(engine.started.length, CONFIG.restartsMax, 'that is for the human now')
  stage.actor('w1').incarnation = 'second'
  engine.set('w1', 'living', { mayStart: true })
  await stage.run(10 * SECOND)
  assert.deepEqual(await stage.open(), [])
  engine.set('w1', 'ended', { mayStart: true })
  await stage.run(MINUTE)
  assert.equal(engine.started.length, CONFIG.restartsMax + 1, 'another hour, another try')
})

test('restarts of before the clock was put back do not count for hours', async () => {
  const { stage, engine } = await withBodies(4, { mayStart: true })
  await using _ = stage
  stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended', { mayStart: true })
  await stage.run(HOUR / 2)
  assert.equal(engine.started.length, CONFIG.restartsMax)
  stage.actor('w1').incarnation = 'second'
  engine.set('w1', 'living', { mayStart: true })
  stage.machine.stepWall(-3 * HOUR)
  await stage.run(HOUR)
  engine.set('w1', 'ended', { mayStart: true })
  await stage.run(MINUTE)
  assert.equal(engine.started.length, CONFIG.restartsMax + 1, 'another hour, another try')
  assert.deepEqual(await stage.open(), ['gone:w1', 'restart:w1'])
})

test('a start that is refused is one incident that names what to do, and no restart; when it is allowed, it is made', async () => {
  const { stage, engine } = await withBodies(4, { mayStart: true })
  await using _ = stage
  const watchdogs = [stage.watchdog({ sources: [engine] }), stage.watchdog({ sources: [engine] })]
  await stage.run(20 * SECOND)
  engine.onStart = () => {
    throw new S2Error('forbidden', 'systemd refused it: Access denied', { next: 'add a polkit rule' })
  }
  engine.set('w1', 'ended', { mayStart: true, why: 'exit code 1' })
  await stage.run(4 * HOUR)
  assert.deepEqual(await stage.open(), ['gone:w1', 'restart_failed:w1'])
  const [, incident] = (await stage.store.incidents({ open: true })).sort((x, y) => (x.cause < y.cause ? -1 : 1))
  assert.equal(
    incident?.summary,
    'body w1 of w1 could not be started again: systemd refused it: Access denied; next: add a polkit rule',
  )
  const told = watchdogs.flatMap((each) => each.said('incident opened')).map(({ fields }) => fields.cause)
  assert.deepEqual(told.sort(), ['gone:w1', 'restart_failed:w1'])
  assert.deepEqual(
    watchdogs.flatMap((each) => each.said('agent restarted')),
    [],
  )
  const tries = engine.started.length
  assert.ok(tries > CONFIG.restartsMax && tries <= 5 * CONFIG.restartsMax, `${tries} tries`)
  const claims = (await stage.store.incidents({ open: false })).filter(({ kind }) => kind === 'restart')
  assert.match(claims[0]?.summary ?? '', /is started again: attempt \d of 3 within an hour/)
  engine.onStart = (id) => {
    stage.actor(id).incarnation = 'second'
    engine.set(id, 'living', { mayStart: true })
  }
  await stage.run(HOUR + 10 * MINUTE)
  assert.equal(engine.started.length, tries + 1)
  assert.deepEqual(await stage.open(), [])
})

test('nothing is started while its supervisor is unknown, nor where the setting says never', async () => {
  const { stage, engine } = await withBodies(4, { mayStart: true })
  await using _ = stage
  stage.watchdog({ sources: [engine] })
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended', { mayStart: true })
  await stage.run(2 * SECOND)
  engine.isAway = true
  engine.hint()
  await stage.run(10 * MINUTE)
  assert.deepEqual([engine.started, (await stage.verdicts()).w1], [[], 'gone'])

  const other = await withBodies(4, { mayStart: true })
  await using __ = other.stage
  other.stage.watchdog({ sources: [other.engine], config: { restartsMax: 0 } })
  await other.stage.run(20 * SECOND)
  other.engine.set('w1', 'ended', { mayStart: true })
  await other.stage.run(10 * MINUTE)
  assert.deepEqual(other.engine.started, [])
})

test('a task that no other agent can take does not keep its dead agent from being started again', async () => {
  const { stage, engine } = await withBodies(4, { mayStart: true })
  await using _ = stage
  stage.watchdog({ sources: [engine] })
  await stage.addTask('t1', 'w1', 'a role that nobody has')
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended', { mayStart: true })
  await stage.run(MINUTE)
  assert.deepEqual([(await stage.holders()).t1, engine.started], ['w1', ['w1']])
})

test('nor does a task that was begun as often as may be: it has failed, and its agent is started again', async () => {
  const { stage, engine } = await withBodies(4, { mayStart: true })
  await using _ = stage
  stage.watchdog({ sources: [engine], config: { attemptsMax: 1 } })
  await stage.addTask('t1', 'w1')
  await stage.store.leaseTask(stage.actor('w1').session, 'life')
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended', { mayStart: true })
  await stage.run(MINUTE)
  assert.deepEqual([(await stage.store.task('t1')).state, engine.started], ['failed', ['w1']])
})

/** How a source learns of a death: by a hint, or by reading again every so often. */
const SOURCES = [
  { name: 'docker, whose event comes', everyMs: 5_000, hints: true, withinMs: 0 },
  { name: 'docker, whose event is lost', everyMs: 5_000, hints: false, withinMs: 5_000 },
  { name: 'systemd and tmux, which are polled', everyMs: 700, hints: false, withinMs: 700 },
]
for (const { name, everyMs, hints, withinMs } of SOURCES) {
  test(`a proven death waits for no silence: ${name}`, async (context) => {
    await using stage = await Stage.open(4)
    const engine = new (class extends Supervisor {
      override readonly everyMs = everyMs
      override hint(): void {
        if (hints) super.hint()
      }
    })()
    for (const agent of stage.actors.keys()) engine.set(agent, 'living')
    const watchdog = stage.watchdog({ sources: [engine] })
    await stage.addTask('t1', 'w1')
    await stage.run(20 * SECOND + 130)
    const diedAt = stage.clock.now()
    engine.set('w1', 'ended', { why: 'exit code 137' })
    stage.silence('w1')
    const told = async (): Promise<boolean> => (await stage.open()).includes('gone:w1')
    const moved = async (): Promise<boolean> => (await stage.holders()).t1 !== 'w1'
    const until = async (isSo: () => Promise<boolean>): Promise<number> => {
      while (!(await isSo())) {
        assert.ok(stage.clock.now() - diedAt < 10 * SECOND)
        await stage.run(10)
      }
      return stage.clock.now() - diedAt
    }
    const [toldMs, movedMs] = [await until(told), await until(moved)]
    const verdictMs = (watchdog.changes.find(({ to }) => to === 'gone')?.passedAt ?? Number.NaN) - diedAt
    context.diagnostic(`verdict after ${verdictMs} ms, told after ${toldMs} ms, moved after ${movedMs} ms`)
    assert.ok(verdictMs <= withinMs, `verdict after ${verdictMs} ms`)
    assert.ok(toldMs <= withinMs + 420 && movedMs <= withinMs + 420, `told ${toldMs}, moved ${movedMs}`)
    assert.deepEqual(await stage.incidents(), ['gone:w1'])
  })
}

test('who was dead before the watchdog began, and is not heard, is gone and not silent', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  await stage.addTask('t1', 'w1')
  await stage.run(20 * SECOND)
  engine.set('w1', 'ended', { why: 'exit code 137' })
  stage.silence('w1')
  await stage.run(MINUTE)
  const watchdog = stage.watchdog({ sources: [engine] })
  const began = stage.clock.now()
  await stage.run(20 * SECOND)
  const [gone] = watchdog.changes.filter(({ to }) => to === 'gone')
  assert.ok((gone?.passedAt ?? Number.NaN) - began <= LATE + SECOND, `${(gone?.passedAt ?? 0) - began} ms`)
  assert.notEqual((await stage.holders()).t1, 'w1')
  await stage.run(5 * MINUTE)
  assert.deepEqual(await stage.incidents(), ['gone:w1'])
})

test('an old body of an agent that lives elsewhere is no death, also when it is late for a while', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  engine.set('w1', 'ended')
  const watchdog = stage.watchdog({ sources: [engine] })
  await stage.run(MINUTE)
  stage.silence('w1')
  await stage.run(30 * SECOND)
  stage.heal('w1')
  await stage.run(MINUTE)
  assert.deepEqual(
    watchdog.changes.map(({ agent, to }) => `${agent} ${to}`),
    ['w1 late', 'w1 alive'],
  )
})

test('a body that ended before its agent ever spoke is no loss', async () => {
  const { stage, engine } = await withBodies(4)
  await using _ = stage
  stage.silence('w1')
  engine.set('w1', 'ended')
  stage.watchdog({ sources: [engine] })
  await stage.run(10 * MINUTE)
  assert.deepEqual([await stage.incidents(), (await stage.verdicts()).w1], [[], 'new'])
})
