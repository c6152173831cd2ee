import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ClientHome, type ClientRun, clientProgram, type HomeOptions } from './client.ts'
import type { Terminal } from './tmux.ts'

/** How its line for input looks while it waits for a prompt. */
const PROMPT = /^\s*›/m

interface HookList {
  readonly data: readonly { readonly hooks: readonly { readonly key: string; readonly currentHash: string }[] }[]
}

/** A home in which Codex asks a made-up model and trusts its project. */
export class CodexHome extends ClientHome {
  readonly config: string

  constructor(options: HomeOptions & { readonly config?: string }) {
    super(options)
    Object.assign(this.env, { MADE_UP_KEY: this.key, ...options.env })
    mkdirSync(join(this.folder, '.codex'))
    this.config = join(this.folder, '.codex', 'config.toml')
    writeFileSync(this.config, configOf(this.modelUrl, this.project, options.config ?? ''))
  }

  /** Where its program lies, for those who look it up. */
  get clientsFolder(): string {
    return dirname(clientProgram('codex'))
  }

  command(args: readonly string[]): readonly [string, ...string[]] {
    return [clientProgram('codex'), ...args]
  }

  /** Starts it in a terminal, and waits until it takes input. */
  async sit(args: readonly string[] = []): Promise<Terminal> {
    const terminal = await this.open(args)
    await terminal.shows(PROMPT, 60_000)
    return terminal
  }

  /** As its user does who answers the question of a folder. */
  trust(folder: string): void {
    appendFileSync(this.config, `\n[projects.${JSON.stringify(folder)}]\ntrust_level = "trusted"\n`)
  }

  /** Trusts the hooks that lie in it, as a person would who looked at them. */
  async trustHooks(): Promise<void> {
    const server = await this.serve()
    const listed = (await server.ask('hooks/list', { cwds: [this.project] })) as unknown as HookList
    const entries = listed.data.flatMap(({ hooks }) => hooks)
    const lines = entries.map(
      ({ key, currentHash }) => `[hooks.state.${JSON.stringify(key)}]\ntrusted_hash = "${currentHash}"\n`,
    )
    appendFileSync(this.config, `\n${lines.join('\n')}`)
    await server.run.finish()
  }

  /** One turn and its end. */
  exec(prompt: string, args: readonly string[] = []): ClientRun {
    const run = this.start(['exec', '--json', '--skip-git-repo-check', ...args, '--', prompt])
    run.child.stdin?.end() // it reads that too
    return run
  }

  /** Its server for programs, spoken to by JSON lines. */
  async serve(): Promise<CodexServer> {
    const run = this.start(['app-server'])
    const server = new CodexServer(run)
    const clientInfo = { name: 's2-test', title: 's2-test', version: '1' }
    await server.ask('initialize', { clientInfo, capabilities: { experimentalApi: true } })
    run.tell({ method: 'initialized' })
    return server
  }
}

/** `codex app-server`: JSON-RPC without its version. */
export class CodexServer {
  readonly run: ClientRun
  #asked = 0

  constructor(run: ClientRun) {
    this.run = run
  }

  /** Asks, and answers the result. Throws what it was refused with. */
  async ask(method: string, params: object = {}): Promise<Record<string, unknown>> {
    this.#asked += 1
    const id = this.#asked
    this.run.tell({ id, method, params })
    const answer = await this.run.hears(
      `an answer to ${method}`,
      (event) => event.id === id && !('method' in event),
      30_000,
    )
    if (answer.error !== undefined) throw new Error(`${method}: ${JSON.stringify(answer.error)}`)
    return answer.result as Record<string, unknown>
  }
}

function configOf(model: string, project: string, more: string): string {
  return `model = "made-up"
model_provider = "made_up"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[model_providers.made_up]
name = "made up"
base_url = "${model}/v1"
env_key = "MADE_UP_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1

[projects."${project}"]
trust_level = "trusted"
${more}`
}
