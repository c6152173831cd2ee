/** What befalls a client that has a task in hand. One fleet; each test has a worker's place of its own. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { ClaudeHome } from './claude.ts'
import { ClientFleet } from './fleet.ts'
import { MadeUpModel } from './model.ts'
import { type Answer, call, type Question, say, silence } from './model-api.ts'
import { placedClaude, placedCodex } from './place.ts'

const PLACES = 7
/** The time without a sign of work that is told of, and that of a lease; shorter than in earnest. */
const STALL_MS = 8_000
const SETTINGS = { S2_LEASE: '6s', S2_STALL_AFTER: `${STALL_MS}ms`, S2_ON_STALL: 'tell' }
/** What a machine with much else to do may take besides. */
const SLACK_MS = 25_000

describe('a client with a task in hand', { concurrency: 2 }, () => {
  let fleet: ClientFleet
  let model: MadeUpModel
  let places = 0

  before(async () => {
    // Each role has one worker: a task that is moved has nowhere to go.
    const roles = Array.from({ length: PLACES }, (_, index) => ({ role: index < 2 ? 'pair' : `role-${index}` }))
    fleet = await ClientFleet.raise(roles, SETTINGS)
    model = await MadeUpModel.start()
    places = 2
  })
  after(async () => {
    await model[Symbol.asyncDispose]()
    await fleet[Symbol.asyncDispose]()
  })

  function ownPlace(): number {
    places += 1
    return places
  }

  /** Claude Code that has taken a task, and whose model then answers as it is told. */
  async function atWork(
    then: () => Answer | Promise<Answer>,
    worker = ownPlace(),
  ): Promise<{ worker: number; task: string; home: ClaudeHome }> {
    const home = await placedClaude(fleet, worker, model)
    const task = `task-${worker}`
    await fleet.assign(worker, task, 'a long work')
    model.scripts.set(home.sentKey, async ({ newest }: Question) =>
      newest.includes('take it') ? call('mcp__s2__take_task') : await then(),
    )
    const terminal = await home.sit()
    await terminal.type('take it')
    await fleet.task(task, 'taken', ({ state }) => state === 'in_progress' || state === 'accepted', 60_000)
    return { worker, task, home }
  }

  const pidOf = (worker: number): number =>
    fleet.clientSessions(worker)[0]?.process?.pid ?? assert.fail('no process is known')

  test('that is stopped is stalled in time, though its daemon beats, and goes on when it may', async () => {
    const answer = Promise.withResolvers<Answer>()
    const { worker, task, home } = await atWork(() => answer.promise)
    await using _ = home
    process.kill(pidOf(worker), 'SIGSTOP')
    const began = performance.now()
    const { why } = await fleet.verdict(worker, 'stalled', ({ verdict }) => verdict === 'stalled', STALL_MS + SLACK_MS)
    console.log(`stalled after ${Math.round(performance.now() - began)} ms: ${why}`)
    process.kill(pidOf(worker), 'SIGCONT')
    model.scripts.set(home.sentKey, ({ newest }) =>
      newest.includes('complete') ? say('ended') : call('mcp__s2__complete_task', { task_id: task }),
    )
    answer.resolve(call('mcp__s2__complete_task', { task_id: task }))
    const { epoch } = await fleet.task(task, 'completed', ({ state }) => state === 'completed', 60_000)
    assert.equal(epoch, 1)
    await fleet.verdict(worker, 'alive', ({ verdict }) => verdict === 'alive')
  })

  test('whose model never answers is stalled in time', async () => {
    const { worker, task, home } = await atWork(() => silence)
    await using _ = home
    const { activity } = await fleet.verdict(
      worker,
      'stalled',
      ({ verdict }) => verdict === 'stalled',
      STALL_MS + SLACK_MS,
    )
    assert.equal(activity?.state, 'working')
    const incidents = await fleet.store.incidents({ open: true })
    assert.ok(
      incidents.some(({ summary }) => summary.includes(task)),
      JSON.stringify(incidents),
    )
  })

  test('that is killed loses it to another agent of its role', async () => {
    const { worker, task, home } = await atWork(() => silence, 1)
    await using _ = home
    const began = performance.now()
    process.kill(pidOf(worker), 'SIGKILL')
    const { holder, epoch } = await fleet.task(task, 'moved', (each) => each.epoch > 1, SLACK_MS)
    console.log(`moved ${Math.round(performance.now() - began)} ms after its client was killed`)
    assert.deepEqual([holder, epoch], [fleet.session(2), 2])
  })

  test('whose person interrupts its turn is idle without a word of its hooks', async () => {
    const { worker, home } = await atWork(() => silence)
    await using _ = home
    await fleet.activity(worker, 'working')
    const screen = home.terminals.at(-1)
    await screen?.press('Escape')
    await screen?.shows(/Interrupted/)
    await fleet.activity(worker, 'idle')
  })

  test('that is at a dialog keeps it, and is not called stalled', async () => {
    const { worker, task, home } = await atWork(() =>
      call('Bash', { command: 'touch asked', description: 'makes a file' }),
    )
    await using _ = home
    await fleet.activity(worker, 'waiting')
    await new Promise((resolve) => setTimeout(resolve, 2 * STALL_MS))
    const { verdict } = await fleet.verdict(worker, 'judged', () => true)
    assert.equal(verdict, 'waiting')
    assert.deepEqual((await fleet.store.task(task)).epoch, 1)
  })

  test('of Codex, whose daemon is killed, is told as gone', async () => {
    const worker = ownPlace()
    await using home = await placedCodex(fleet, worker, model)
    model.scripts.set(home.key, ({ newest }) => (newest.includes('begin') ? silence : say('done')))
    const terminal = await home.sit()
    await terminal.type('begin')
    await fleet.activity(worker, 'working')
    process.kill(pidOf(worker), 'SIGKILL')
    await fleet.activity(worker, 'gone')
  })
})
