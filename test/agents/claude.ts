import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isOver } from '../process-state.ts'
import { ClientHome, type ClientRun, clientProgram, type HomeOptions } from './client.ts'
import type { Terminal } from './tmux.ts'

/** Claude Code's own file of a session: `~/.claude/sessions/<pid>.json`. */
export interface ClaudeSessionFile {
  readonly pid: number
  readonly sessionId: string
  readonly cwd: string
  readonly status?: string
  readonly waitingFor?: string
  readonly kind: string
  readonly messagingSocketPath?: string
}

/** How its line for input looks while it waits for a prompt. */
const PROMPT = /^\s*❯/m

/** A home in which Claude Code is past its first questions and trusts its project. */
export class ClaudeHome extends ClientHome {
  constructor(options: HomeOptions) {
    super(options)
    const key = `sk-made-up-${this.key}`.padEnd(40, '-')
    Object.assign(this.env, {
      ANTHROPIC_BASE_URL: this.modelUrl,
      ANTHROPIC_API_KEY: key,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_AUTOUPDATER: '1',
      CLAUDE_CODE_MAX_RETRIES: '1', // of its own eleven, which take three minutes
      IS_SANDBOX: '1', // as root it refuses to work in bypass mode without it
      ...options.env,
    })
    this.#trust(key)
    mkdirSync(join(this.folder, '.claude'))
    this.settle()
  }

  command(args: readonly string[]): readonly [string, ...string[]] {
    return [clientProgram('claude'), ...args]
  }

  /** The key that its questions bear. */
  get sentKey(): string {
    return this.env.ANTHROPIC_API_KEY ?? this.env.CLAUDE_CODE_OAUTH_TOKEN ?? ''
  }

  /** From now on it is logged in by a subscription, whose limits say when they end, and not by a key. */
  subscribe(): void {
    delete this.env.ANTHROPIC_API_KEY
    this.env.CLAUDE_CODE_OAUTH_TOKEN = `sk-ant-oat01-made-up-${this.key}`
  }

  /**
   * Writes the user's settings; `allow` lists tools that it may call without asking. Its own default would be to ask a service
   * that is not there for each call.
   */
  settle(settings: object = {}, allow: readonly string[] = []): void {
    const permissions = { defaultMode: 'default', allow }
    writeFileSync(join(this.folder, '.claude', 'settings.json'), JSON.stringify({ permissions, ...settings }, null, 2))
  }

  /** Starts it in a terminal, and waits until it takes input. */
  async sit(args: readonly string[] = [], cwd = this.project): Promise<Terminal> {
    const terminal = await this.open(args, cwd)
    await terminal.shows(PROMPT, 60_000)
    return terminal
  }

  /** One process for many turns, spoken to by JSON lines. */
  stream(args: readonly string[] = []): ClientRun {
    const both = ['--input-format', 'stream-json', '--output-format', 'stream-json']
    return this.start(['-p', ...both, '--verbose', '--replay-user-messages', ...args])
  }

  /** The files of its sessions that live. */
  sessions(): ClaudeSessionFile[] {
    const folder = join(this.folder, '.claude', 'sessions')
    if (!existsSync(folder)) return []
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .flatMap((name) => {
        try {
          return [JSON.parse(readFileSync(join(folder, name), 'utf8')) as ClaudeSessionFile]
        } catch {
          return [] // it is being written
        }
      })
      .filter(({ pid }) => !isOver(pid))
  }

  /** As its user does who answers the dialog of a folder. */
  trust(folder: string): void {
    const path = join(this.folder, '.claude.json')
    const known = JSON.parse(readFileSync(path, 'utf8')) as { readonly projects: object }
    const projects = { ...known.projects, [folder]: { hasTrustDialogAccepted: true } }
    writeFileSync(path, JSON.stringify({ ...known, projects }))
  }

  #trust(key: string): void {
    const projects = { [this.project]: { hasTrustDialogAccepted: true, hasCompletedProjectOnboarding: true } }
    const asked = { customApiKeyResponses: { approved: [key.slice(-20)], rejected: [] } }
    const seen = { hasSeenAutoDefaultNudge: true, hasSeenAutoDefaultNotice: true }
    const done = { hasCompletedOnboarding: true, theme: 'dark', bypassPermissionsModeAccepted: true, ...seen }
    writeFileSync(join(this.folder, '.claude.json'), JSON.stringify({ ...done, ...asked, projects }))
  }
}

/** A prompt for `stream`. */
export function prompt(text: string): object {
  return { type: 'user', message: { role: 'user', content: text } }
}
