/** What is kept of clients on their host: when they were woken, what they used, who is there, and S2's part of their settings. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { publishClientSession, readClientSessions } from '#agents/client-sessions-folder.ts'
import { HookReports } from '#agents/hook-reports.ts'
import { WakeMemory } from '#agents/wake/wake-memory.ts'
import { NO_USAGE } from '#fleet/usage.ts'
import { hookFiles, mcpFiles, type Scope } from '../../../services/cli/client-hooks/client-files.ts'
import {
  byFile,
  carryOut,
  type FileEdit,
  planInstall,
  planUninstall,
} from '../../../services/cli/client-hooks/file-edits.ts'
import type { UnreadMail } from '../../../services/fs-watcher/mail-source.ts'
import { WokenMessages } from '../../../services/fs-watcher/woken-messages.ts'
import { DaySpending } from '../../../services/worker/clients/day-spending.ts'
import { report } from '../../core/agents/reports.ts'
import { sampleSession } from '../../core/agents/sample-session.ts'
import { READER } from '../../core/spool/sample.ts'
import type { Scenario, Tell } from '../scenario.ts'
import { brokenJson } from './whole-files.ts'

type NoteWord =
  | { readonly sent: number }
  | { readonly worked: true }
  | { readonly unwoken: boolean }
  | { readonly woken: number }
  | { readonly turns: number }

interface FoundNotes {
  readonly sent: number
  readonly worked: boolean
  readonly unwoken: boolean
  /** The newest message that was woken for. */
  readonly woken: number
  /** What counts for the budget of the day. */
  readonly turns: number
  readonly faults: readonly string[]
}

const AGENT = 's2-worker-1'
const UNWOKEN = { sessions: [READER], idleWith: null }
const spendingIn = (root: string): DaySpending => new DaySpending(root, { wall: () => 1_000 }, 'UTC')

function mailOf(id: number): UnreadMail {
  return { id, from: 'conv_0123456789abcdef/a', to: READER, sentAt: id, fingerprint: 'print' }
}

function filesOfWakes(root: string): { readonly memory: string; readonly woken: string } {
  return { memory: join(root, 'watcher', 'inbox-wakes.json'), woken: join(root, 'watcher', 'inbox.json') }
}

async function playWakes(root: string, tell: Tell<NoteWord>): Promise<void> {
  const memory = await WakeMemory.open(filesOfWakes(root).memory)
  await memory.noteSent(AGENT, 1_000)
  tell({ sent: 1 })
  await memory.noteUnwoken(AGENT, UNWOKEN)
  tell({ unwoken: true })
  await memory.noteSent(AGENT, 2_000)
  tell({ sent: 2 })
  await memory.noteWorked(AGENT, null, { rung: 'tmux', readMs: 300, at: 2_300 })
  tell({ worked: true })
  await memory.noteReached(AGENT)
  tell({ unwoken: false })
}

async function playWoken(root: string, tell: Tell<NoteWord>): Promise<void> {
  const woken = await WokenMessages.open(filesOfWakes(root).woken, () => undefined)
  for (const newest of [1, 2, 3]) {
    await woken.keep([mailOf(newest)], () => true)
    tell({ woken: newest })
  }
}

/** Each time as after a restart. */
async function playSpending(root: string, tell: Tell<NoteWord>): Promise<void> {
  for (const turns of [1, 2, 3]) {
    await spendingIn(root).add({ ...NO_USAGE, turns: 1 })
    tell({ turns })
  }
}

/**
 * A restart wakes nobody twice for one message, sends no more than the budget, begins with the way that was read, and gives no day's
 * budget anew.
 */
export const wakesAndSpending: Scenario<FoundNotes, NoteWord> = {
  name: 'wakes and spending',
  module: import.meta.url,
  async play(root, tell) {
    await Promise.all([playWakes(root, tell), playWoken(root, tell), playSpending(root, tell)])
  },
  async look(root) {
    const files = filesOfWakes(root)
    const faults = ['watcher', 'agents'].flatMap((name) => brokenJson(join(root, name)))
    const memory = await WakeMemory.open(files.memory)
    const woken = await WokenMessages.open(files.woken, (why) => faults.push(why))
    return {
      sent: memory.sent(AGENT).length,
      worked: memory.worked(AGENT, null) !== null,
      unwoken: memory.unwoken().size > 0,
      woken: [3, 2, 1].find((id) => woken.has(mailOf(id))) ?? 0,
      turns: spendingIn(root).today.turns,
      faults,
    }
  },
  judge({ sent, worked, unwoken, woken, turns, faults }, told) {
    const lost = told.flatMap((word) => {
      if ('sent' in word && sent < word.sent) return [`${word.sent} wakes were sent, and ${sent} are known`]
      if ('worked' in word && !worked) return ['the way that was read is forgotten']
      if ('woken' in word && woken < word.woken) return [`message ${word.woken} would be woken for once more`]
      if ('turns' in word && turns < word.turns) return [`${word.turns} turns were counted, and ${turns} are`]
      return []
    })
    const isReached = told.some((word) => 'unwoken' in word && !word.unwoken)
    return [...lost, ...(isReached && unwoken ? ['an agent that was reached is told of as not woken'] : []), ...faults]
  },
}

interface FoundClients {
  readonly prompts: readonly string[]
  readonly states: readonly string[]
}

const SESSIONS = ['first', 'second', 'third']
const reportOf = (folder: string) => report({ hook_event_name: 'Stop', cwd: folder })

/**
 * Who is there, and what their hooks told, may be lost with the power, as the clients themselves are. What is found is whole: nobody
 * takes half a report for an event, or half a file for a session.
 */
export const clients: Scenario<FoundClients, { readonly put: string }> = {
  name: 'clients',
  module: import.meta.url,
  async play(root, tell) {
    const reports = new HookReports(root)
    await reports.ensure()
    for (const folder of SESSIONS) {
      reports.put(reportOf(`/${folder}`), 1)
      await publishClientSession(root, sampleSession({ folder: `/${folder}` }))
      tell({ put: folder })
    }
    await reports.take(2)
  },
  async look(root) {
    const prompts = (await new HookReports(root).take(10)).map((each) => JSON.stringify(each))
    return { prompts, states: (await readClientSessions(root)).map((each) => JSON.stringify(each)) }
  },
  judge({ prompts, states }) {
    const reports = SESSIONS.map((folder) => JSON.stringify(reportOf(`/${folder}`)))
    const sessions = SESSIONS.map((folder) => JSON.stringify(sampleSession({ folder: `/${folder}` })))
    return [
      ...prompts.filter((each) => !reports.includes(each)).map((each) => `nobody put this report: ${each}`),
      ...states.filter((each) => !sessions.includes(each)).map((each) => `nobody published this session: ${each}`),
    ]
  },
}

/** As their owners wrote them; what is not named here is not there. */
const SETTINGS: Readonly<Record<string, string>> = {
  '.claude/settings.json': '{\n  // mine\n  "theme": "dark",\n  "hooks": {}\n}\n',
  '.claude.json': '{"projects": {}}\n',
  '.codex/config.toml': '# mine\nmodel = "gpt" # the best\n',
}

function editsIn(root: string): FileEdit[] {
  const scope: Scope = { isProject: false, folder: root, home: root, env: {} }
  return byFile(
    (['claude', 'codex', 'gemini', 'opencode'] as const).flatMap((client) => {
      const wishes = { client, state: '/state', door: null }
      return [...hookFiles(wishes, scope), ...mcpFiles(wishes, scope)]
    }),
  )
}

const textOf = (path: string): string | null => (existsSync(path) ? readFileSync(path, 'utf8') : null)

type SettingsWord = { readonly installed: string } | { readonly uninstalls: string } | { readonly uninstalled: string }

interface FoundSettings {
  readonly path: string
  readonly text: string | null
  readonly backup: string | null
  readonly installed: string
}

/** A file of a client's settings is as it was, or as `s2 hooks install` made it; what it was is beside it for as long. */
export const clientSettings: Scenario<readonly FoundSettings[], SettingsWord> = {
  name: 'client settings',
  module: import.meta.url,
  async lay(root) {
    for (const [name, text] of Object.entries(SETTINGS)) {
      mkdirSync(dirname(join(root, name)), { recursive: true, mode: 0o700 })
      writeFileSync(join(root, name), text)
    }
  },
  async play(root, tell) {
    const nameOf = ({ path }: FileEdit): string => path.slice(root.length + 1)
    for (const edit of editsIn(root)) {
      await carryOut(edit, await planInstall(edit), true)
      tell({ installed: nameOf(edit) })
    }
    for (const edit of editsIn(root)) {
      tell({ uninstalls: nameOf(edit) })
      await carryOut(edit, await planUninstall(edit), false)
      tell({ uninstalled: nameOf(edit) })
    }
  },
  async look(root) {
    return editsIn(root).map((edit) => {
      const name = edit.path.slice(root.length + 1)
      const [text, backup] = [textOf(edit.path), textOf(`${edit.path}.before-s2`)]
      return { path: name, text, backup, installed: edit.install(SETTINGS[name] ?? '') }
    })
  },
  judge(found, told) {
    return found.flatMap(({ path, text, backup, installed }) => {
      const was = SETTINGS[path] ?? null
      const has = (kind: string): boolean => told.some((word) => (word as Record<string, string>)[kind] === path)
      const isOver = has('uninstalls')
      return [
        ...(text === was || text === installed ? [] : [`${path} is neither old nor new: ${text}`]),
        ...(backup === null || backup === was ? [] : [`what ${path} was is kept as ${backup}`]),
        ...(text === installed && was !== null && backup === null && !isOver ? [`what ${path} was is not kept`] : []),
        ...(has('installed') && !isOver && text !== installed ? [`${path} was written, and is as it was`] : []),
        ...(has('uninstalled') && text !== was ? [`${path} was written back, and is not`] : []),
      ]
    })
  },
}
