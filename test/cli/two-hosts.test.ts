/**
 * The story of a second host, as an operator types it: `s2 init` on the orchestrator and on the worker, with an ssh server,
 * a certificate and services that are real. Two homes on loopback stand for the two hosts.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lookup } from 'node:dns/promises'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { freePort } from '../port.ts'
import { noSshd, Sshd } from '../sshd.ts'
import { until } from '../until.ts'
import { type Outcome, run } from './run-command.ts'

const root = mkdtempSync(join(tmpdir(), 's2-hosts-'))
const services = join(import.meta.dirname, '../../services')

/**
 * A service manager that starts our programs for a home, and says that a unit is started when its program is ready, as
 * systemd does for Type=notify.
 */
const SYSTEMCTL = `#!/bin/sh
for word in "$@"; do unit=$word; done
pid=$HOME/units/$unit.pid
runs() { [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; }
echo "$*" >>"$HOME/units/log"
case " $* " in
  *' list-unit-files '*) cat "$HOME/units/installed" ;;
  *' is-active '*) runs ;;
  *' start '* | *' restart '*)
    if runs; then kill "$(cat "$pid")"; while runs; do sleep 0.05; done; fi
    program=\${unit#s2-}
    settings=$HOME/.config/s2/s2.env
    S2_STATE=$HOME/.local/state/s2 setsid ${process.execPath} --env-file="$settings" --env-file-if-exists="$HOME/.config/s2/$unit.env" \\
      "${services}/$program/main.ts" >>"$HOME/units/$unit.log" 2>&1 </dev/null &
    echo $! >"$pid"
    until grep -q '"event":"ready"' "$HOME/units/$unit.log"; do runs || { echo "$unit failed" >&2; exit 1; }; sleep 0.05; done ;;
esac
`

/** One host: a home with ssh, settings and services of its own. */
class Machine {
  readonly home: string
  readonly settings: string
  readonly #env: Record<string, string | undefined>

  constructor(name: string, units: readonly string[]) {
    this.home = join(root, name)
    this.settings = join(this.home, '.config', 's2')
    const bin = join(this.home, 'bin')
    for (const folder of [join(this.home, 'units'), bin, this.settings]) mkdirSync(folder, { recursive: true })
    writeFileSync(
      join(this.home, 'units', 'installed'),
      units.map((unit) => `${unit}.service disabled enabled\n`).join(''),
    )
    writeFileSync(join(bin, 'systemctl'), SYSTEMCTL, { mode: 0o755 })
    writeFileSync(join(bin, 'journalctl'), '#!/bin/sh\ncat "$HOME/units/$2.log"\n', { mode: 0o755 })
    this.#env = { HOME: this.home, PATH: `${bin}:${process.env.PATH}` }
  }

  set(text: string, file = 's2.env'): void {
    writeFileSync(join(this.settings, file), text)
  }

  get written(): string {
    return readFileSync(join(this.settings, 's2.env'), 'utf8')
  }

  /** Runs `s2 init` at a terminal; each question is answered by the first of the answers that it matches. */
  async init(argv: readonly string[], answers: readonly (readonly [RegExp, string | (() => string)])[]): Promise<Talk> {
    let talk = ''
    const ask = async (question: string): Promise<string | null> => {
      const found = answers.find(([pattern]) => pattern.test(question))
      if (found === undefined) throw new Error(`nobody expected to be asked: ${question}`)
      const answer = typeof found[1] === 'string' ? found[1] : found[1]()
      talk += `${question}${answer}\n`
      return answer
    }
    const note = (text: string): void => {
      talk += text
    }
    const screen = { isTerminal: true, columns: 120, rows: 40, coloured: false }
    const { code } = await run(['init', ...argv], { env: this.#env, ask, screen, print: note, tell: note })
    return { code, talk }
  }

  async s2(...argv: string[]): Promise<Outcome> {
    return await run(argv, { env: { ...this.#env, S2_STATE: join(this.home, '.local/state/s2') } })
  }

  /** What the service manager was told to do since it was asked last. */
  told(): string[] {
    const log = join(this.home, 'units', 'log')
    const lines = existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []
    rmSync(log, { force: true })
    return lines.filter((line) => / (re)?start /.test(line))
  }

  end(): void {
    const folder = join(this.home, 'units')
    for (const name of readdirSync(folder).filter((each) => each.endsWith('.pid')))
      try {
        process.kill(Number(readFileSync(join(folder, name), 'utf8')), 'SIGKILL')
      } catch {
        // it has ended
      }
  }
}

interface Talk {
  readonly code: number
  /** All that stood on the screen. */
  readonly talk: string
}

const lead = new Machine('lead', ['s2-bridge', 's2-watchdog', 's2-cred-sync', 's2-keepalive', 's2-fs-watcher'])
const worker = new Machine('worker', ['s2-cred-sync', 's2-keepalive', 's2-fs-watcher'])
let sshd: Sshd
before(async () => {
  if (!noSshd) sshd = await Sshd.start()
})
after(async () => {
  for (const machine of [lead, worker]) machine.end()
  await sshd?.[Symbol.asyncDispose]()
  rmSync(root, { recursive: true, force: true })
})

const name = hostname().toLowerCase()
/** The story wants a name beside localhost that loopback has, so that nothing beyond this machine is spoken to. */
const noName = await lookup(name, { family: 4 }).then(
  ({ address }) => (address.startsWith('127.') && !/^\d/.test(name) ? false : `${name} is no name of loopback here`),
  () => `${name} has no address here`,
)

test('an orchestrator and a worker, each by one s2 init', { skip: noSshd || noName }, async () => {
  const repository = join(sshd.folder, 'fleet.git')
  execFileSync('git', ['init', '--quiet', '--bare', repository])
  const remote = sshd.url(repository)
  const port = await freePort()
  // Loopback alone is listened on: what is set by hand stays.
  const { address } = await lookup(name, { family: 4 })
  lead.set(`S2_LISTEN=${address}:${port}\nGIT_SSH_COMMAND=${sshd.ssh}\n`)
  // As the unit of the orchestrator's host has it.
  lead.set('S2_ISSUER=yes\n', 's2-cred-sync.env')
  worker.set(`GIT_SSH_COMMAND=${sshd.ssh}\nS2_GIT_POLL=1s\n`)

  let letIn = 0
  const admits = (): string => {
    letIn += 1
    sshd.letIn(readFileSync(`${sshd.key}.pub`, 'utf8'))
    return ''
  }
  const first = await lead.init(
    [],
    [
      [/name or address/, `${name}:${port}`],
      [/certificate/, ''],
      [/Which git remote/, remote],
      [/right one/, 'yes'],
      [/Press Enter/, admits],
      [/wakes the agent/, ''],
      [/^Start/, 'yes'],
      [/Which worker/, '03:backend'],
      [/Another one/, ''],
    ],
  )
  assert.equal(first.code, 0, first.talk)
  assert.match(first.talk, new RegExp(sshd.fingerprint.replace(/[+/]/g, '\\$&')))
  assert.match(first.talk, /ssh-ed25519 AAAA/)
  assert.equal(letIn, 1)
  assert.match(first.talk, /the bridge answers at https:/)
  assert.match(first.talk, /on the host of s2-worker-3, .*\n.*make install.*\n.*s2 init --role worker\n/)
  const [line = ''] = /s2-join-\S+/.exec(first.talk) ?? []
  assert.match(lead.written, /^S2_TLS_CA=/m)

  const second = await worker.init(
    [],
    [
      [/Which line/, line],
      [/wakes the agent/, ''],
      [/^Start/, 'yes'],
    ],
  )
  assert.equal(second.code, 0, second.talk)
  assert.match(second.talk, /this host has joined as s2-worker-3/)
  assert.match(second.talk, /this host is in the fleet: 1 session, linked/)
  assert.match(second.talk, /Nothing is left to do/)
  assert.equal(worker.written, `GIT_SSH_COMMAND=${sshd.ssh}\nS2_GIT_POLL=1s\n`, 'the invitation says the rest')
  const inGit = (): string =>
    execFileSync('git', ['--git-dir', repository, 'ls-tree', '-r', '--name-only', 'main'], { encoding: 'utf8' })
  // The bridge had it first: the branch follows.
  await until('its credential is in git', () => /^credentials\/s2-worker-3-credentials\.json$/m.test(inGit()))

  // Again: it is shown and kept, nothing is asked that was answered, and nothing is started that runs.
  lead.told()
  worker.told()
  const again = await lead.init(
    [],
    [
      [/wakes the agent/, ''],
      [/^Start/, 'yes'],
      [/Which worker/, '3:backend'],
      [/Another one/, ''],
    ],
  )
  assert.equal(again.code, 0, again.talk)
  assert.match(again.talk, /s2-worker-3 is in the fleet already/)
  assert.match(again.talk, /Nothing is left to do/)
  const there = await worker.init([], [[/wakes the agent/, '']])
  assert.equal(there.code, 0, there.talk)
  assert.match(there.talk, /this host is s2-worker-3 of the bridge https:/)
  assert.match(there.talk, /this host is in the fleet: 1 session, linked/)
  assert.match(there.talk, /Nothing is left to do/)
  assert.deepEqual([lead.told(), worker.told()], [[], []])
  const list = JSON.parse((await lead.s2('conversation', 'list', '--json')).out) as unknown[]
  assert.equal(list.length, 1)
})
