/** Clients that `s2 work --agent` drives say themselves how their task goes and ends, by tools that nobody set up for them. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ClaudeHome } from './claude.ts'
import { CodexHome } from './codex.ts'
import { ClientFleet } from './fleet.ts'
import { MadeUpModel } from './model.ts'
import { type Answer, call, type Question, say } from './model-api.ts'
import { runInShell } from './responses-api.ts'

const bin = mkdtempSync(join(tmpdir(), 'bin-'))
const stack = new AsyncDisposableStack()
after(async () => {
  await stack.disposeAsync()
  rmSync(bin, { recursive: true })
})

describe('a client that is driven ends its own task', () => {
  let fleet: ClientFleet
  let model: MadeUpModel

  before(async () => {
    model = stack.use(await MadeUpModel.start())
    // Each has a server of that name already, which leads nowhere.
    const claude = new ClaudeHome({ model: model.url, key: 'claude' })
    const settings = join(claude.folder, '.claude.json')
    const known = JSON.parse(readFileSync(settings, 'utf8')) as object
    writeFileSync(settings, JSON.stringify({ ...known, mcpServers: { s2: { command: 'false', args: [] } } }))
    const config = '\n[mcp_servers.s2]\ncommand = "false"\nenv = { S2_STATE = "/nowhere" }\n'
    const homes = [claude, new CodexHome({ model: model.url, key: 'codex', config })]
    for (const home of homes) stack.use(home).putInto(bin)
    const workers = [
      { agent: 'claude', allowedTools: ['Bash'], exec: null },
      { agent: 'codex', permissionMode: 'danger-full-access', exec: null },
    ] as const
    // The checkout's own command is left out: what `s2 work` brings along is tried.
    const others = (process.env.PATH ?? '').split(':').filter((folder) => !existsSync(join(folder, 's2')))
    fleet = stack.use(await ClientFleet.raise(workers, {}, { PATH: [bin, ...others].join(':') }))
  })

  /** What is left to do of each task, by the words of its prompt. */
  function play(plans: Readonly<Record<string, readonly ((question: Question) => Answer)[]>>): string[] {
    const heard: string[] = []
    const left = new Map(Object.entries(plans).map(([word, plan]) => [word, [...plan]]))
    model.otherwise = (question) => {
      heard.push(question.newest)
      const word = [...left.keys()].find((each) => question.whole.includes(`do ${each}`))
      return left.get(word ?? '')?.shift()?.(question) ?? say('that is all')
    }
    return heard
  }

  const WORKERS = [
    { worker: 1, name: 'Claude Code' },
    { worker: 2, name: 'Codex' },
  ]

  for (const { worker, name } of WORKERS) {
    test(`${name} by its tools`, async () => {
      const [good, bad] = [`good-${worker}`, `bad-${worker}`]
      const tell = await fleet.tell(worker, 'mind the gap')
      const heard = play({
        [good]: [
          () => call('mcp__s2__take_task'),
          () => call('mcp__s2__check_messages'),
          () =>
            call('mcp__s2__report_progress', {
              task_id: good,
              percent: 40,
              note: 'half of it',
              checkpoint: 'a is done',
            }),
          () => call('mcp__s2__complete_task', { task_id: good, result: 'merged as abc' }),
          () => say('bye'),
        ],
        [bad]: [() => call('mcp__s2__fail_task', { task_id: bad, reason: 'there is no such file' }), () => say('done')],
      })
      await fleet.assign(worker, good, `do ${good}`)
      const ended = await fleet.task(good, 'ended', ({ state }) => /completed|failed/.test(state), 60_000)
      const { state, epoch, result, checkpoint, progress, usage } = ended
      assert.deepEqual([state, epoch, result?.tail], ['completed', 1, 'merged as abc'], heard.join('\n--\n'))
      assert.deepEqual([checkpoint, progress], ['a is done', '40% · half of it'])
      assert.ok((usage?.outputTokens ?? 0) > 0, 'its usage is told with its end')
      assert.ok(
        heard.some((text) => text.includes('mind the gap')),
        `message ${tell.id} was not read`,
      )

      await fleet.assign(worker, bad, `do ${bad}`)
      const failed = await fleet.task(bad, 'ended', ({ state }) => /completed|failed/.test(state), 60_000)
      assert.deepEqual([failed.state, failed.result?.tail], ['failed', 'there is no such file'], heard.join('\n--\n'))
    })

    test(`${name} by commands`, async () => {
      const id = `shell-${worker}`
      // A login shell, as Codex takes one, may leave out what S2 adds to PATH.
      const s2 = worker === 1 ? 's2' : join(fleet.stateOf(worker), 'agents', 'bin', 's2')
      const line = `${s2} task progress ${id} --note 'by a command' && ${s2} task done ${id} --result 'by a command'`
      const heard = play({
        [id]: [
          (question) =>
            question.api === 'messages'
              ? call('Bash', { command: line, description: 'ends it' })
              : runInShell(question, line),
          () => say('bye'),
        ],
      })
      await fleet.assign(worker, id, `do ${id}`)
      const ended = await fleet.task(id, 'ended', ({ state }) => /completed|failed/.test(state), 60_000)
      assert.deepEqual([ended.state, ended.result?.tail], ['completed', 'by a command'], heard.join('\n--\n'))
    })
  }
})
