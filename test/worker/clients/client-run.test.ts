import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { DrivenClient } from '#agents/agent-options.ts'
import { type Budgets, NO_BUDGETS, parseBudget } from '#agents/budget.ts'
import type { Task } from '#fleet/task.ts'
import { systemClock } from '#runtime/clock.ts'
import { clientDriver } from '../../../services/worker/clients/client-driver-of.ts'
import { clientStarter } from '../../../services/worker/clients/client-run.ts'
import { DaySpending } from '../../../services/worker/clients/day-spending.ts'
import { AgentBudget } from '../../../services/worker/clients/run-budget.ts'
import { TaskSessions } from '../../../services/worker/clients/task-sessions.ts'
import type { RunningCommand } from '../../../services/worker/running-command.ts'
import { isOver } from '../../process-state.ts'
import { aTask } from '../../tasks.ts'
import { until } from '../../until.ts'
import { OPTIONS, recorded } from './talks.ts'

const top = mkdtempSync(join(tmpdir(), 's2-clients-'))
after(() => rmSync(top, { recursive: true, force: true }))
const FAKE = fileURLToPath(new URL('fake-client.ts', import.meta.url))

interface Noted {
  readonly start?: readonly string[]
  readonly task?: string
  readonly text?: string
  readonly pid?: number
  readonly heard?: {
    readonly message?: { readonly content: string }
    readonly method?: string
    readonly type?: string
    readonly params?: { readonly config?: unknown }
  }
}

/** A host with a client that says what was recorded, one talk a start. */
class Host {
  readonly folder = mkdtempSync(join(top, 'host-'))
  readonly shown: string[] = []
  readonly troubles: unknown[] = []
  budgets: Budgets = NO_BUDGETS
  readonly #client: DrivenClient

  constructor(client: DrivenClient, ...talks: readonly string[]) {
    this.#client = client
    const bin = join(this.folder, 'bin')
    mkdirSync(bin)
    writeFileSync(join(this.folder, 'plan'), talks.join('\n'))
    const [node, plan, log] = [process.execPath, join(this.folder, 'plan'), this.#log]
    writeFileSync(join(bin, client), `#!/bin/sh\nexec '${node}' '${FAKE}' ${client} '${plan}' '${log}' "$@"\n`)
    chmodSync(join(bin, client), 0o755)
  }

  get #log(): string {
    return join(this.folder, 'log')
  }

  get noted(): Noted[] {
    if (!existsSync(this.#log)) return []
    const lines = readFileSync(this.#log, 'utf8').trim().split('\n')
    return lines.map((line) => JSON.parse(line) as Noted)
  }

  get starts(): (readonly string[])[] {
    return this.noted.flatMap(({ start }) => (start === undefined ? [] : [start]))
  }

  get heard(): NonNullable<Noted['heard']>[] {
    return this.noted.flatMap(({ heard }) => (heard === undefined ? [] : [heard]))
  }

  /** As a person does who starts the client there by hand. */
  trust(): this {
    const projects = { [this.folder]: { hasTrustDialogAccepted: true } }
    writeFileSync(join(this.folder, '.claude.json'), JSON.stringify({ projects }))
    mkdirSync(join(this.folder, '.codex'))
    const lines = [`[projects.${JSON.stringify(this.folder)}]`, 'trust_level = "trusted" # by hand', '']
    writeFileSync(join(this.folder, '.codex', 'config.toml'), lines.join('\n'))
    return this
  }

  begin(task: Partial<Task> = {}): RunningCommand {
    const state = join(this.folder, 'state')
    const start = clientStarter({
      driver: clientDriver({ client: this.#client, ...OPTIONS }, null, 'UTC'),
      env: { PATH: `${join(this.folder, 'bin')}:/usr/bin:/bin`, HOME: this.folder },
      folder: this.folder,
      clock: systemClock,
      sessions: new TaskSessions(state, this.#client),
      budget: new AgentBudget(this.budgets, new DaySpending(state, systemClock, 'UTC')),
      onTrouble: (error) => void this.troubles.push(error),
    })
    return start(aTask({ description: '--settings={"x":1}', ...task }), (line) => void this.shown.push(line))
  }
}

test('a task is told by standard input alone: facts first, then its text, which is in no argument and no environment', async () => {
  const host = new Host('claude', 'claude-success').trust()
  const end = await host.begin({ id: 't-7', epoch: 3, role: 'tests' }).ended
  assert.deepEqual(end, { exitCode: 0, signal: null, tail: 'answer 11', client: 'answered' })
  const [begun] = host.noted
  assert.deepEqual([begun?.task, begun?.text], ['t-7', undefined])
  assert.ok(!JSON.stringify(host.starts).includes('settings'))
  const content = host.heard[0]?.message?.content ?? ''
  assert.match(
    content,
    /task t-7, epoch 3, priority P1, for the role tests[\s\S]*as it was given:\n\n--settings=\{"x":1\}\n$/,
  )
  assert.deepEqual(host.shown, ['answer 11'])
})

for (const client of ['claude', 'codex'] as const) {
  test(`a ${client} that is killed in its turn is told, and goes on in its session at the next start`, async () => {
    const host = new Host(client, `${client}-interrupted:3`, `${client}-success`, `${client}-success`)
    const end = await host.begin().ended
    assert.deepEqual([end.client, end.signal], ['died', 'SIGKILL'])
    assert.match(end.tail, /the client ended without a result: it was ended by SIGKILL\n$/)
    const again = await host.begin({ epoch: 2 }).ended
    assert.equal(again.client, 'answered')
    const session = /"(?:session_id|threadId)": "([^"]+)"/.exec(recorded(`${client}-interrupted`).join('\n'))?.[1]
    if (client === 'claude') assert.ok(host.starts[1]?.includes(`--resume=${session}`), String(host.starts[1]))
    else assert.ok(host.heard.some(({ method }) => method === 'thread/resume'))
    await host.begin({ epoch: 3 }).ended
    const isResumed = JSON.stringify([host.starts[2], host.heard.slice(-3)]).includes('resume')
    assert.equal(isResumed, false, 'what has ended is not gone on with')
  })
}

test('what lies in a folder that nobody told the client to trust is left out, and the log says so', async () => {
  const claude = new Host('claude', 'claude-success', 'claude-success')
  await claude.begin().ended
  await claude.trust().begin().ended
  assert.deepEqual(
    claude.starts.map((start) => start.includes('--setting-sources=user')),
    [true, false],
  )
  const codex = new Host('codex', 'codex-success', 'codex-success')
  await codex.begin().ended
  await codex.trust().begin().ended
  assert.deepEqual(
    codex.heard.flatMap(({ method, params }) => (method === 'thread/start' ? [params?.config] : [])),
    [{ projects: { [codex.folder]: { trust_level: 'untrusted' } } }, undefined],
  )
  for (const { shown } of [claude, codex])
    assert.deepEqual(
      shown.map((line) => /not told to trust this folder/.test(line)),
      [true, false, false],
    )
})

test('a session that is gone is begun anew within the same attempt', async () => {
  const host = new Host('claude', 'claude-interrupted:2', 'claude-no-session', 'claude-success')
  await host.begin().ended
  const end = await host.begin().ended
  assert.deepEqual([end.exitCode, host.starts.length], [0, 3])
  assert.ok(!host.starts[2]?.join(' ').includes('--resume'))
})

test('a turn that has to end is interrupted, so that its session is whole, and is gone on with later', async () => {
  const host = new Host('claude', 'claude-interrupted', 'claude-success').trust()
  const running = host.begin()
  await until('it works', () => host.shown.length > 0)
  running.stop(30_000)
  await running.ended
  assert.ok(host.heard.some(({ type }) => type === 'control_request'))
  await host.begin().ended
  assert.ok(host.starts[1]?.join(' ').includes('--resume='))
})

test('a client that does not listen is ended within the time that there is', async () => {
  const host = new Host('claude', 'claude-success:1:still')
  const running = host.begin()
  await until('it is there', () => host.noted.length > 1)
  const pid = host.noted[0]?.pid ?? 0
  const began = systemClock.now()
  running.stop(600)
  await running.ended
  assert.ok(systemClock.now() - began < 5_000)
  await until('it is gone', () => isOver(pid))
})

test('what is not the task’s fault is one of the place', async () => {
  const host = new Host('claude', 'claude-usage-limit')
  const { client } = await host.begin().ended
  const why = "claude: You've hit your 5-hour limit · resets 3:52pm (UTC)"
  assert.deepEqual(client, { state: 'parked', why, until: 1796053975000 })
})

test('a stream that is silent is no work, though its process lives', async () => {
  const host = new Host('claude', 'claude-success:1:still')
  const running = host.begin()
  await until('it is there', () => host.noted.length > 1)
  assert.equal(await running.hasWorked?.(), false)
  running.stop(0)
  await running.ended
})

test('a client that is not installed is a fault of the place', async () => {
  const host = new Host('claude', 'claude-success')
  rmSync(join(host.folder, 'bin', 'claude'))
  await assert.rejects(host.begin().ended, { name: 'StartError', code: 'no_program' })
})

test('dollars are counted by the client itself, which is told how many are left; what it used counts for the day', async () => {
  const host = new Host('claude', 'claude-budget', 'claude-success')
  host.budgets = { task: parseBudget('0.0001 USD'), day: parseBudget('1 USD') }
  const end = await host.begin().ended
  assert.ok(host.starts[0]?.includes('--max-budget-usd=0.0001'), String(host.starts[0]))
  assert.deepEqual([end.exitCode, end.client], [1, 'answered'])
  assert.match(end.tail, /^the budget of the task is used up: 0\.0001 of 0\.0001 USD$/)
  await host.begin({ id: 't-2' }).ended
  const spent = new DaySpending(join(host.folder, 'state'), systemClock, 'UTC').today
  assert.deepEqual(spent.costUsd, 0.00028)
})

test('tokens are counted as they come, and a turn that uses too many is left', async () => {
  const host = new Host('codex', 'codex-interrupted')
  host.budgets = { task: parseBudget('15 tokens'), day: null }
  const end = await host.begin().ended
  assert.equal(end.tail, 'the budget of the task is used up: 15 of 15 tokens')
})

test('what a client says that it used is brought into its bounds, which a bridge demands', async () => {
  const host = new Host('claude')
  const used = { inputTokens: 1.5, outputTokens: -3, cacheReadInputTokens: 1e308, costUSD: 1e308, other: 'x' }
  const model_usage_since_last_result = { one: used, two: { ...used, outputTokens: 'many' }, three: null }
  const line = JSON.stringify({ type: 'result', subtype: 'success', result: 'x', model_usage_since_last_result })
  writeFileSync(join(host.folder, 'bin', 'claude'), `#!/bin/sh\necho '${line}'\n`)
  const running = host.begin()
  await running.ended
  const most = Number.MAX_SAFE_INTEGER
  const expected = { inputTokens: most, outputTokens: 0, cachedTokens: most, costUsd: 1_000_000, turns: 1 }
  assert.deepEqual(running.usage, expected)
})

test('a task whose budget is used up already is not begun', async () => {
  const host = new Host('claude', 'claude-success')
  host.budgets = { task: parseBudget('10 tokens'), day: null }
  const usage = { inputTokens: 10, outputTokens: 1, cachedTokens: 0, costUsd: null, turns: 1 }
  const end = await host.begin({ usage }).ended
  assert.deepEqual([end.tail, host.starts.length], ['the budget of the task is used up: 11 of 10 tokens', 0])
})

test('a task that was begun elsewhere tells what is known of that', async () => {
  const host = new Host('claude', 'claude-success')
  const attempt = {
    epoch: 1,
    holder: 'conv_x/b',
    startedAt: 0,
    end: 'silent',
    endedAt: 1,
    note: 'ran the tests',
  } as const
  await host.begin({ attempts: [attempt], checkpoint: 'mended login.ts\nnext: the tests' }).ended
  const content = host.heard[0]?.message?.content ?? ''
  assert.match(
    content,
    /begun before[\s\S]*conv_x\/b, 1970-01-01T00:00:00Z: its agent was not heard any more: ran the tests/,
  )
  assert.match(content, /left to go on from:\n {2}mended login\.ts\n {2}next: the tests\n/)
})

test('what a client complains of is no progress, and explains its death', async () => {
  const host = new Host('claude', 'claude-success:1').trust()
  const program = join(host.folder, 'bin', 'claude')
  writeFileSync(program, readFileSync(program, 'utf8').replace("exec '", "echo 'no such option' >&2\nexec '"))
  const end = await host.begin().ended
  assert.equal(end.tail, 'no such option\nthe client ended without a result: it was ended by SIGKILL\n')
  assert.deepEqual(host.shown, [])
})

test('a client that refuses its options cannot work here, whatever the task is; one that was heard has died', async () => {
  const complaint =
    "error: option '--permission-mode <mode>' argument 'acceptEdit' is invalid. Allowed choices are acceptEdits, plan."
  const begun = async (line: string) => {
    const host = new Host('claude', 'claude-success:1').trust()
    const program = join(host.folder, 'bin', 'claude')
    writeFileSync(program, readFileSync(program, 'utf8').replace("exec '", `echo "${complaint}" >&2\n${line}\nexec '`))
    return await host.begin().ended
  }
  const why = `the client refuses how it is called: ${complaint}`
  assert.deepEqual((await begun('exit 1')).client, { state: 'sick', why, until: null })
  assert.equal((await begun('')).client, 'died')
})
