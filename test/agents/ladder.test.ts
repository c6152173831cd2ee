/** Each way to wake an idle client, alone: what counts is that the real client read the wake. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { wakesIn } from '../../services/core/fleet/wake-text.ts'
import { until } from '../until.ts'
import { ClientFleet } from './fleet.ts'
import { MadeUpModel } from './model.ts'
import type { Question } from './model-api.ts'
import { placedClaude, placedCodex } from './place.ts'

/** The places of the fleet, and by what each of them may be woken. */
const PLACES = {
  socket: 'inbox_socket',
  stream: 'inbox_socket',
  pane: 'tmux',
  codexPane: 'tmux',
  codexTurn: 'app_server',
  codexQueue: 'codex_queue',
  ended: 'resume',
  bypass: 'inbox_socket,rewake,tmux',
  waiter: 'rewake',
  draft: 'tmux',
  background: 'inbox_socket',
} as const
type Place = keyof typeof PLACES

describe('a wake is read by', { concurrency: 2 }, () => {
  /** Where the fleet finds a client that it starts itself. */
  const bin = mkdtempSync(join(tmpdir(), 'bin-'))
  let fleet: ClientFleet
  let model: MadeUpModel
  const workerAt = (place: Place): number => Object.keys(PLACES).indexOf(place) + 1

  before(async () => {
    const places = Object.values(PLACES).map((S2_WAKE_BY) => ({ settings: { S2_WAKE_BY } }))
    fleet = await ClientFleet.raise(places, {}, { PATH: `${bin}:${process.env.PATH}` })
    model = await MadeUpModel.start()
  })
  after(async () => {
    await model[Symbol.asyncDispose]()
    await fleet[Symbol.asyncDispose]()
    rmSync(bin, { recursive: true })
  })

  /** Sends a message to an idle client, and sees its wake arrive at the model, and told as read by that rung. */
  async function wake(place: Place, key: string, rung: string): Promise<void> {
    const worker = workerAt(place)
    await until(
      `${place} is idle`,
      () => fleet.clientSessions(worker).some(({ activity }) => activity.state === 'idle'),
      30_000,
    )
    const began = performance.now()
    await fleet.tell(worker, 'a secret word')
    const woken = await model
      .asked('by a wake', (question) => question.key === key && isWoken(question))
      .catch((error: Error) => assert.fail(`${error.message}\n${fleet.logOf(worker, 'fs-watcher')}`))
    const arrived = performance.now() - began
    assert.ok(!woken.newest.includes('a secret word'), 'a wake brings facts, and no message')
    await until('the wake is told as read', () => fleet.wokenBy(worker).length > 0, 60_000)
    const [worked] = fleet.wokenBy(worker)
    assert.equal(worked?.rung, rung)
    console.log(
      `${place}: ${rung}, at the model after ${Math.round(arrived)} ms, proven ${worked?.readMs} ms after it was sent`,
    )
  }

  test('Claude Code in a terminal, by its inbox socket', async () => {
    await using home = await placedClaude(fleet, workerAt('socket'), model)
    await home.sit()
    await wake('socket', home.sentKey, 'inbox_socket')
  })

  test('Claude Code without a terminal, by its inbox socket between two turns', async () => {
    await using home = await placedClaude(fleet, workerAt('stream'), model)
    const run = home.stream()
    run.tell({ type: 'user', message: { role: 'user', content: 'begin' } })
    await run.hears('the end of the turn', ({ type }) => type === 'result')
    await wake('stream', home.sentKey, 'inbox_socket')
  })

  test('Claude Code in the background, by its inbox socket, and once more when its daemon has started it again', async () => {
    const worker = workerAt('background')
    await using home = await placedClaude(fleet, worker, model)
    assert.equal(await home.start(['--bg', 'begin']).finish(), 0)
    await wake('background', home.sentKey, 'inbox_socket')
    const [session] = fleet.clientSessions(worker)
    process.kill(session?.process?.pid ?? 0, 'SIGKILL')
    await fleet.activity(worker, 'gone')
    await fleet.activity(worker, 'idle')
    assert.equal(fleet.clientSessions(worker)[0]?.id, session?.id)
    assert.notEqual(fleet.clientSessions(worker)[0]?.process?.pid, session?.process?.pid)
    const known = model.questions.length
    await fleet.tell(worker, 'more')
    await until('it is woken', () =>
      model.questions.slice(known).some((each) => each.key === home.sentKey && isWoken(each)),
    )
  })

  test('Claude Code in a terminal, by its pane', async () => {
    await using home = await placedClaude(fleet, workerAt('pane'), model)
    await home.sit()
    await wake('pane', home.sentKey, 'tmux')
  })

  test('Claude Code in a terminal, by a hook that waits beside it', async () => {
    await using home = await placedClaude(fleet, workerAt('waiter'), model)
    await home.sit()
    await wake('waiter', home.sentKey, 'rewake')
  })

  test('Claude Code in bypass mode, without a dialog, by the next rung', async () => {
    await using home = await placedClaude(fleet, workerAt('bypass'), model, { skipDangerousModePermissionPrompt: true })
    const terminal = await home.sit(['--dangerously-skip-permissions'])
    await wake('bypass', home.sentKey, 'rewake')
    assert.doesNotMatch(await terminal.screen(), /Held peer message/)
  })

  test('Claude Code that has ended, by a turn of its resumed session', async () => {
    await using home = await placedClaude(fleet, workerAt('ended'), model)
    assert.equal(await home.start(['-p', '--', 'begin']).finish(), 0)
    await fleet.activity(workerAt('ended'), 'gone')
    home.putInto(bin)
    await fleet.tell(workerAt('ended'), 'mail')
    await model.asked('by a wake', (question) => question.key === home.sentKey && isWoken(question))
  })

  test('who has begun to write once his draft is away, which stays until then', async () => {
    await using home = await placedClaude(fleet, workerAt('draft'), model)
    const terminal = await home.sit()
    await fleet.activity(workerAt('draft'), 'idle')
    await terminal.write('half a sentence')
    await fleet.tell(workerAt('draft'), 'mail')
    await until(
      'the watcher waits',
      () => /wake waits for the client.*"for":"passing"/.test(fleet.logOf(workerAt('draft'), 'fs-watcher')),
      30_000,
    )
    const screen = await terminal.screen()
    assert.match(screen, /half a sentence/)
    assert.doesNotMatch(screen, /S2 wake/)
    assert.ok(!model.questions.some(({ key }) => key === home.sentKey))
    await terminal.press('C-u')
    await until(
      'it is woken',
      () => /wake read.*"rung":"tmux"/.test(fleet.logOf(workerAt('draft'), 'fs-watcher')),
      60_000,
    )
  })

  for (const [place, rung, how] of [
    ['codexTurn', 'app_server', 'a turn that its daemon begins'],
    ['codexQueue', 'codex_queue', 'its queue'],
  ] as const) {
    test(`Codex in a terminal, by ${how}`, async () => {
      await using home = await placedCodex(fleet, workerAt(place), model)
      const terminal = await home.sit()
      await terminal.type('begin')
      await terminal.shows(/done/)
      await wake(place, home.key, rung)
      const [session] = fleet.clientSessions(workerAt(place))
      assert.match(session?.version ?? '', /^\d+\.\d+\.\d+$/, 'the rung that worked is kept for a version')
    })
  }
})

function isWoken({ newest }: Question): boolean {
  return wakesIn(newest).length > 0
}
