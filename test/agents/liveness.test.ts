/** What becomes of a task when the client that took it is killed, or stands still, while the daemon beside it beats. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { until } from '../until.ts'
import type { ClaudeHome } from './claude.ts'
import { diligent } from './diligent-model.ts'
import { ClientFleet } from './fleet.ts'
import { MadeUpModel } from './model.ts'
import { silence } from './model-api.ts'
import { placedClaude } from './place.ts'

/** As short as the lease of the stage lets it be. */
const STALL_MS = 12_000
/** From the death of a process to the move of its task: its host looks each second, and its end has to hold for one. */
const MOVED_MS = 8_000

/** Two agents of each: what one of them loses the other gets. */
const ROLES = ['coding', 'coding', 'docs', 'docs']

describe('a client with a task in hand', () => {
  let fleet: ClientFleet
  let model: MadeUpModel

  before(async () => {
    fleet = await ClientFleet.raise(
      ROLES.map((role) => ({ role })),
      { S2_STALL_AFTER: `${STALL_MS}ms`, S2_TAKE_WITHIN: '1h' },
    )
    model = await MadeUpModel.start()
  })
  after(async () => {
    await model[Symbol.asyncDispose]()
    await fleet[Symbol.asyncDispose]()
  })

  /** Claude Code in a worker's place, in the middle of a turn in which it took a task. */
  async function working(worker: number, id: string): Promise<{ home: ClaudeHome; pid: number }> {
    await using stack = new AsyncDisposableStack()
    const home = stack.use(await placedClaude(fleet, worker, model))
    model.scripts.set(home.sentKey, diligent({ work: () => silence }))
    await fleet.assign(worker, id, 'mend the fence')
    await until('the assignment is there', async () => (await fleet.unacked(worker)).length > 0)
    const terminal = await home.sit()
    await terminal.type('begin')
    await fleet.task(id, 'taken', ({ state }) => state === 'accepted' || state === 'in_progress', 60_000)
    const [session] = home.sessions()
    assert.ok(session)
    stack.move()
    return { home, pid: session.pid }
  }

  async function told(cause: RegExp): Promise<string> {
    let found: string | undefined
    await until(
      `${cause} is told`,
      async () => {
        const incidents = await fleet.store.incidents({ open: false })
        found = incidents.find((each) => cause.test(each.cause))?.summary
        return found !== undefined
      },
      60_000,
    )
    return found ?? ''
  }

  test('that is killed loses it at once', async () => {
    const { home, pid } = await working(1, 'killed')
    await using _ = home
    await fleet.activity(1, 'working')
    const killedAt = Date.now()
    process.kill(pid, 'SIGKILL')
    const { epoch } = await fleet.task('killed', 'moved', ({ holder }) => holder !== fleet.session(1))
    assert.ok(Date.now() - killedAt < MOVED_MS, `${Date.now() - killedAt} ms`)
    assert.equal(epoch, 2)
    assert.match(await told(/^client_gone:/), /has ended with killed in hand/)
    await fleet.verdict(1, 'gone', ({ verdict }) => verdict === 'gone')
  })

  test('that is stopped while its daemon beats is stalled in time, and not before', async () => {
    const { home, pid } = await working(3, 'stopped')
    await using _ = home
    await fleet.activity(3, 'working')
    process.kill(pid, 'SIGSTOP')
    const stoppedAt = Date.now()
    try {
      assert.match(await told(/^task_stalled:stopped@/), /its client is in the middle of a turn/)
      assert.ok(Date.now() - stoppedAt > STALL_MS / 2)
      assert.equal(
        (await fleet.verdict(3, 'stalled', ({ verdict }) => verdict === 'stalled')).activity?.state,
        'working',
      )
      assert.equal((await fleet.task('stopped', 'still its own', () => true)).holder, fleet.session(3))
      await fleet.task('stopped', 'moved', ({ holder }) => holder !== fleet.session(3), 2 * STALL_MS)
      assert.ok(Date.now() - stoppedAt > 1.5 * STALL_MS)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
  })
})
