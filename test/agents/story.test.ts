/** A whole story, played by the two real clients: a task is assigned, its agent hears of it, takes it, works, ends it, and goes on. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { wakesIn } from '../../services/core/fleet/wake-text.ts'
import { until } from '../until.ts'
import type { ClientHome } from './client.ts'
import { diligent } from './diligent-model.ts'
import { ClientFleet } from './fleet.ts'
import { MadeUpModel } from './model.ts'
import { type Answer, call, type Question } from './model-api.ts'
import { placedClaude, placedCodex } from './place.ts'
import { runInShell } from './responses-api.ts'

describe('a task, from its assignment to the next', () => {
  let fleet: ClientFleet
  let model: MadeUpModel

  before(async () => {
    fleet = await ClientFleet.raise([{}, {}], { S2_WAKE_BY: 'inbox_socket,app_server,codex_queue,tmux' })
    model = await MadeUpModel.start()
  })
  after(async () => {
    await model[Symbol.asyncDispose]()
    await fleet[Symbol.asyncDispose]()
  })

  /** The tasks of one client: the first is there when it starts, the next comes while it works, the last when it idles. */
  async function play(
    worker: number,
    key: string,
    work: (task: string, question: Question) => Answer,
    start: () => Promise<void>,
  ) {
    const [first, next, last] = [`first-${worker}`, `next-${worker}`, `last-${worker}`]
    await fleet.assign(worker, first, 'make the file')
    await until('the assignment is there', async () => (await fleet.unacked(worker)).length > 0)
    const onWorked = async (task: string): Promise<void> => {
      if (task === first) await fleet.assign(worker, next, 'and the next')
    }
    model.scripts.set(key, diligent({ work, onWorked }))
    await start()
    const isCompleted = async (id: string): Promise<void> => {
      const { holder, epoch } = await fleet.task(id, 'completed', ({ state }) => state === 'completed', 90_000)
      assert.deepEqual([holder, epoch], [fleet.session(worker), 1])
    }
    await isCompleted(first)
    await isCompleted(next)
    await fleet.activity(worker, 'idle')
    const asked = model.questions.length
    await fleet.assign(worker, last, 'and one more')
    await isCompleted(last)
    const woken = model.questions.slice(asked).find((each) => each.key === key && wakesIn(each.newest).length > 0)
    const [wake = ''] = wakesIn(woken?.newest ?? '')
    assert.ok(
      fleet.clientSessions(worker).some(({ wakesRead }) => wakesRead.includes(wake)),
      `wake ${wake} was not told as read`,
    )
    await until('the watcher knows that it was read', () => fleet.wokenBy(worker).length > 0, 30_000)
    const tools = model.questions.findLast((each) => each.key === key)?.tools ?? []
    assert.ok(tools.includes('mcp__s2__take_task'), tools.join())
  }

  function isMade(home: ClientHome, task: string): boolean {
    return existsSync(join(home.project, task))
  }

  test('Claude Code', async () => {
    await using home = await placedClaude(fleet, 1, model, {}, ['mcp__s2', 'Bash'])
    const work = (task: string): Answer => call('Bash', { command: `touch ${task}`, description: 'makes the file' })
    await play(1, home.sentKey, work, async () => {
      const terminal = await home.sit()
      await terminal.type('begin')
    })
    assert.ok(isMade(home, 'first-1') && isMade(home, 'next-1'))
    await until('all mail is acked', async () => (await fleet.unacked(1)).length === 0, 60_000)
  })

  test('Codex', async () => {
    await using home = await placedCodex(fleet, 2, model)
    const work = (task: string, question: Question): Answer => runInShell(question, `touch ${task}`)
    await play(2, home.key, work, async () => {
      const terminal = await home.sit()
      await terminal.type('begin')
    })
    assert.ok(isMade(home, 'first-2') && isMade(home, 'next-2'))
    await until('all mail is acked', async () => (await fleet.unacked(2)).length === 0, 60_000)
  })
})
