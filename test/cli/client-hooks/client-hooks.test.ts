import assert from 'node:assert/strict'
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import type { S2Error } from '#fleet/errors.ts'
import { carryOut, planInstall } from '../../../services/cli/client-hooks/file-edits.ts'
import { type Outcome, run } from '../run-command.ts'

const base = mkdtempSync(join(tmpdir(), 's2-hooks-'))
after(() => rmSync(base, { recursive: true, force: true }))
let homes = 0

/** A person's home, and a command line there. */
class Home {
  readonly path: string
  readonly project: string
  readonly state: string

  /** `state`: what its state folder is called. */
  constructor(state = 'state') {
    homes += 1
    this.path = join(base, `home-${homes}`)
    this.project = join(this.path, 'project')
    this.state = join(this.path, state)
    mkdirSync(this.project, { recursive: true })
  }

  async s2(...argv: readonly string[]): Promise<Outcome> {
    return await run(['hooks', ...argv], {
      env: { HOME: this.path, S2_STATE: this.state },
      folder: this.project,
    })
  }

  put(name: string, content: string, mode = 0o644): string {
    const path = join(this.path, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, content, { mode })
    return path
  }

  get(name: string): string {
    return readFileSync(join(this.path, name), 'utf8')
  }

  files(): string[] {
    return readdirSync(this.path, { recursive: true, encoding: 'utf8' }).sort()
  }
}

const SETTINGS =
  '{\n  // mine\n  "model": "opus",\n  "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]}\n}\n'

test('hooks of Claude Code stand beside those of the person, once, and go without a trace', async () => {
  const home = new Home()
  home.put('.claude/settings.json', SETTINGS, 0o640)
  home.put('.claude.json', '{"projects":{}}')
  const before = home.files()
  const first = await home.s2('install', '--agent', 'claude', '--mcp')
  assert.equal(first.code, 0, first.err)
  const installed = home.get('.claude/settings.json')
  assert.match(installed, /\/\/ mine/)
  assert.match(installed, /say done/)
  assert.match(installed, /hook Stop --agent claude --state [^"]*\/state"/)
  assert.equal(installed.match(/hook wait --agent claude --state [^"]*",\s*"asyncRewake": true/g)?.length, 2)
  assert.match(installed, /"matcher": "AskUserQuestion\|ExitPlanMode\|Bash"/)
  assert.equal(statSync(join(home.path, '.claude/settings.json')).mode & 0o777, 0o640)
  const server = JSON.parse(home.get('.claude.json')).mcpServers.s2
  assert.equal(server.alwaysLoad, true)
  assert.equal(server.args.at(-1), 'mcp')
  const again = await home.s2('install', '--agent', 'claude', '--mcp')
  assert.match(again.out, /is as it should be/)
  assert.equal(home.get('.claude/settings.json'), installed)
  assert.match((await home.s2('status', '--agent', 'claude')).out, /claude +hooks +installed/)
  assert.equal((await home.s2('uninstall', '--agent', 'claude')).code, 0)
  assert.deepEqual(home.files(), before)
  assert.equal(home.get('.claude/settings.json'), SETTINGS)
  assert.equal(home.get('.claude.json'), '{"projects":{}}')
})

test('every client gets its hooks and its server, and nothing is left of them', async () => {
  for (const client of ['claude', 'codex', 'gemini', 'opencode']) {
    for (const scope of ['--user', '--project']) {
      const home = new Home()
      const { code, err } = await home.s2('install', '--agent', client, scope, '--mcp')
      assert.equal(code, 0, err)
      assert.ok(home.files().some((name) => name.includes(client === 'opencode' ? 's2.js' : client)))
      const status = await home.s2('status', '--agent', client, '--json')
      assert.equal(
        (JSON.parse(status.out) as { state: string }[]).filter(({ state }) => state === 'installed').length,
        2,
      )
      assert.equal((await home.s2('uninstall', '--agent', client, scope)).code, 0)
      assert.deepEqual(
        home.files().filter((name) => name !== '.config'),
        ['project'],
      )
      assert.equal((await home.s2('status', '--agent', client)).code, 1)
    }
  }
})

test('hooks that name a state folder with spaces and quotes are known again, and go', async () => {
  for (const client of ['claude', 'codex', 'gemini']) {
    const home = new Home("it's my state")
    await home.s2('install', '--agent', client)
    assert.match((await home.s2('install', '--agent', client)).out, /is as it should be/)
    await home.s2('uninstall', '--agent', client)
    assert.deepEqual(home.files(), ['project'])
  }
})

test('what the person changed meanwhile stays', async () => {
  const home = new Home()
  home.put('.claude/settings.json', SETTINGS)
  await home.s2('install', '--agent', 'claude')
  const path = home.put('.claude/settings.json', home.get('.claude/settings.json').replace('"opus"', '"sonnet"'))
  await home.s2('uninstall', '--agent', 'claude')
  assert.equal(readFileSync(path, 'utf8'), SETTINGS.replace('"opus"', '"sonnet"'))
  assert.ok(!existsSync(`${path}.before-s2`))
})

test('a dry run says what would change, and changes nothing', async () => {
  const home = new Home()
  home.put('.codex/hooks.json', '{"hooks":{}}')
  const before = home.files()
  const { out } = await home.s2('install', '--agent', 'codex', '--mcp', '--dry-run')
  assert.match(out, /^--- .*hooks\.json\n\+\+\+ .*hooks\.json\n@@ -1,1 \+1,1 @@\n-\{"hooks":\{\}\}\n/)
  assert.match(out, /--- \/dev\/null\n\+\+\+ .*config\.toml\n@@ -0,0 \+1,\d @@\n\+\[mcp_servers\.s2\]/)
  assert.deepEqual(home.files(), before)
})

test('broken settings are refused, and no other file is touched', async () => {
  const home = new Home()
  home.put('.claude/settings.json', '{\n  "hooks": {\n')
  const before = home.files()
  const { code, err } = await home.s2('install', '--agent', 'claude', '--mcp')
  assert.equal(code, 1)
  assert.match(err, /settings\.json is not JSON \(line 3\): nothing was changed/)
  assert.deepEqual(home.files(), before)
})

test('settings in another form, and a link that leads nowhere, are refused with what is wrong', async () => {
  const home = new Home()
  for (const settings of ['{"hooks": ["mine"]}', '{"hooks": {"Stop": {"mine": 1}}}', '[]']) {
    home.put('.claude/settings.json', settings)
    const { code, err } = await home.s2('install', '--agent', 'claude')
    assert.deepEqual([code, home.get('.claude/settings.json')], [1, settings])
    assert.match(err, /settings\.json holds something else than S2 can add to \(line 1\): nothing was changed/)
  }
  rmSync(join(home.path, '.claude/settings.json'))
  symlinkSync('nowhere', join(home.path, '.claude/settings.json'))
  const { code, err } = await home.s2('install', '--agent', 'claude')
  assert.equal(code, 1)
  assert.match(err, /settings\.json is a link that leads nowhere: nothing was changed/)
})

test('settings of another user are left alone', { skip: process.getuid?.() !== 0 }, async () => {
  const home = new Home()
  chownSync(home.put('.claude/settings.json', '{}'), 65_534, 65_534)
  const { code, err } = await home.s2('install', '--agent', 'claude')
  assert.equal(code, 1)
  assert.match(err, /settings\.json belongs to another user: nothing was changed/)
  assert.equal(statSync(join(home.path, '.claude/settings.json')).uid, 65_534)
})

test('a hook of the person that is sent to somebody else stays', async () => {
  const home = new Home()
  const mine = { hooks: [{ type: 'http', url: 'https://example.org/hook/claude' }] }
  home.put('.claude/settings.json', JSON.stringify({ hooks: { Stop: [mine] } }))
  await home.s2('install', '--agent', 'claude')
  assert.match(home.get('.claude/settings.json'), /example\.org/)
  home.put('.claude/settings.json', `${home.get('.claude/settings.json')}\n`)
  await home.s2('uninstall', '--agent', 'claude')
  assert.match(home.get('.claude/settings.json'), /example\.org/)
})

test('a file that cannot be written is named, with what to do', async () => {
  const home = new Home()
  symlinkSync(join(home.path, 'nowhere', 'else'), join(home.path, '.claude'))
  const path = join(home.path, '.claude', 'settings.json')
  const edit = { path, mayBeLink: true, install: () => 'x', uninstall: () => '' }
  await assert.rejects(carryOut(edit, await planInstall(edit), true), (error: S2Error) => {
    assert.ok(error.message.startsWith(`${path} cannot be written (`), error.message)
    const next = 'make it writable, or put in yourself what --dry-run shows'
    assert.deepEqual([error.code, error.next], ['unavailable', next])
    return true
  })
})

test('what a client writes between the plan and its doing is not lost', async () => {
  const home = new Home()
  const path = home.put('settings.json', '{}')
  const edit = { path, mayBeLink: true, install: () => '{"s2": 1}', uninstall: () => '{}' }
  const change = await planInstall(edit)
  home.put('settings.json', '{"new": 1}')
  await assert.rejects(carryOut(edit, change, true), /was changed meanwhile: nothing was written/)
  assert.equal(home.get('settings.json'), '{"new": 1}')
  assert.deepEqual(home.files(), ['project', 'settings.json'])
  home.put('settings.json', '{"s2": 1}')
  await carryOut(edit, change, true)
  assert.equal(home.get('settings.json'), '{"s2": 1}', 'another installation was first')
})

test('a file that begins with a byte order mark and has lines of Windows is the same to the byte afterwards', async () => {
  const home = new Home()
  const settings = '\ufeff{\r\n  // mine\r\n  "model": "opus"\r\n}\r\n'
  home.put('.claude/settings.json', settings)
  assert.equal((await home.s2('install', '--agent', 'claude')).code, 0)
  assert.match(home.get('.claude/settings.json'), /^\ufeff\{\r\n {2}\/\/ mine\r\n[\s\S]*hook Stop/)
  await home.s2('uninstall', '--agent', 'claude')
  assert.equal(home.get('.claude/settings.json'), settings)
})

test('a copy of settings that a repository brings keeps nobody from taking the hooks away', async () => {
  const home = new Home()
  home.put('project/.claude/settings.local.json', '{}')
  home.put('project/.claude/settings.local.json.before-s2', '{')
  assert.equal((await home.s2('install', '--agent', 'claude', '--project')).code, 0)
  const { code, err } = await home.s2('uninstall', '--agent', 'claude', '--project')
  assert.deepEqual([code, home.get('project/.claude/settings.local.json').replace(/\s/g, '')], [0, '{}'], err)
})

test('a link of a person is followed and stays; one in a project is refused', async () => {
  const home = new Home()
  const real = home.put('dotfiles/claude.json', '{}')
  mkdirSync(join(home.path, '.claude'))
  symlinkSync(real, join(home.path, '.claude/settings.json'))
  assert.equal((await home.s2('install', '--agent', 'claude')).code, 0)
  assert.match(readFileSync(real, 'utf8'), /s2|main\.ts/)
  mkdirSync(join(home.project, '.claude'))
  symlinkSync(real, join(home.project, '.claude/settings.local.json'))
  const { code, err } = await home.s2('install', '--agent', 'claude', '--project')
  assert.equal(code, 1)
  assert.match(err, /is a link/)
  for (const agent of ['codex', 'gemini', 'opencode']) {
    symlinkSync(dirname(real), join(home.project, `.${agent}`))
    const outcome = await home.s2('install', '--agent', agent, '--project')
    assert.deepEqual([outcome.code, /is a link/.test(outcome.err)], [1, true], agent)
  }
  assert.deepEqual(readdirSync(dirname(real)).sort(), ['claude.json', 'claude.json.before-s2'])
})

test('hooks over HTTP hold a secret that nobody else on the machine reads, and that no diff shows', async () => {
  const home = new Home()
  home.put('.claude/settings.json', SETTINGS, 0o644)
  mkdirSync(join(home.path, 'state'), { mode: 0o700 })
  const before = home.files()
  const dry = await home.s2('install', '--agent', 'claude', '--http', '--dry-run')
  assert.match(dry.out, /Bearer …/)
  assert.deepEqual(home.files(), before)
  assert.equal((await home.s2('install', '--agent', 'claude', '--http')).code, 0)
  const { port, secret } = JSON.parse(home.get('state/agents/door.json'))
  const { hooks } = JSON.parse(home.get('.claude/settings.json').replace('// mine', ''))
  assert.deepEqual(hooks.Stop[1].hooks, [
    {
      type: 'http',
      url: `http://127.0.0.1:${port}/hook/claude`,
      headers: { Authorization: `Bearer ${secret}` },
      timeout: 5,
    },
  ])
  assert.equal(hooks.SessionStart[0].hooks[0].type, 'command')
  assert.deepEqual(
    [hooks.PermissionRequest[0].hooks[0].type, hooks.PermissionRequest[0].hooks[0].timeout],
    ['command', 600],
  )
  for (const name of ['.claude/settings.json', 'state/agents/door.json'])
    assert.equal(statSync(join(home.path, name)).mode & 0o777, 0o600)
  assert.match((await home.s2('status', '--agent', 'claude')).out, /claude +hooks +installed/)
  await home.s2('uninstall', '--agent', 'claude')
  assert.equal(home.get('.claude/settings.json'), SETTINGS)
  assert.equal(statSync(join(home.path, '.claude/settings.json')).mode & 0o777, 0o644)
  assert.ok(!existsSync(join(home.path, 'state/agents/door.json')))
  for (const wrong of [['codex'], ['claude', '--project']])
    assert.equal((await home.s2('install', '--http', '--agent', ...wrong)).code, 64)
})

test('no hook of Codex asks for more seconds than Codex gives it', async () => {
  const home = new Home()
  const { out } = await home.s2('install', '--agent', 'codex')
  assert.ok(out.endsWith(`sessions of codex speak for the state folder ${join(home.path, 'state')}\n`), out)
  const { hooks } = JSON.parse(home.get('.codex/hooks.json')) as {
    hooks: Record<string, { hooks: { timeout: number }[] }[]>
  }
  const seconds = (event: string): number | undefined => hooks[event]?.[0]?.hooks[0]?.timeout
  assert.deepEqual(['Interrupt', 'SessionEnd', 'Stop'].map(seconds), [3, 3, 5])
})

test('a plugin of somebody else is not written over', async () => {
  const home = new Home()
  const path = home.put('.config/opencode/plugins/s2.js', 'export const Mine = 1\n')
  assert.equal((await home.s2('install', '--agent', 'opencode')).code, 1)
  assert.equal((await home.s2('uninstall', '--agent', 'opencode')).code, 1)
  assert.equal(readFileSync(path, 'utf8'), 'export const Mine = 1\n')
})

test('all clients that are named get their hooks, in their order, and lose them', async () => {
  const home = new Home()
  const both = ['--agent', 'gemini', '--agent', 'claude', '--agent', 'gemini']
  const dry = await home.s2('install', ...both, '--dry-run')
  assert.match(dry.out, /\+\+\+ .*\.gemini\/settings\.json\n[\s\S]*\+\+\+ .*\.claude\/settings\.json\n/)
  assert.equal(dry.out.match(/^\+\+\+ /gm)?.length, 2, 'named twice is named once')
  assert.deepEqual(home.files(), ['project'])
  const { diff } = JSON.parse((await home.s2('install', ...both, '--dry-run', '--json')).out)
  assert.equal(diff, dry.out)
  const installed = await home.s2('install', ...both)
  assert.equal(installed.code, 0, installed.err)
  assert.match(installed.out, /\.gemini\/settings\.json is written\n[\s\S]*\.claude\/settings\.json is written\n/)
  assert.equal(installed.err.match(/no s2-keepalive answers/g)?.length, 1, 'what both lack is told once')
  const status = await home.s2('status', ...both, '--json')
  const rows = JSON.parse(status.out) as { agent: string; state: string }[]
  assert.deepEqual([...new Set(rows.map(({ agent }) => agent))], ['gemini', 'claude'])
  assert.equal(rows.filter(({ state }) => state === 'installed').length, 2)
  const again = JSON.parse((await home.s2('install', ...both, '--json')).out) as { agent: string; what: string }[]
  assert.deepEqual(
    again.map(({ agent, what }) => [agent, what]),
    [
      ['gemini', 'is as it should be'],
      ['claude', 'is as it should be'],
    ],
  )
  assert.equal((await home.s2('uninstall', ...both)).code, 0)
  assert.deepEqual(home.files(), ['project'])
})

test('a client that fails is told of, and hides no other', async () => {
  const home = new Home()
  home.put('.gemini/settings.json', '{')
  const { code, out, err } = await home.s2('install', '--agent', 'gemini', '--agent', 'claude')
  assert.equal(code, 1)
  assert.match(out, /\.claude\/settings\.json is written/)
  assert.match(err, /^s2: gemini: .*settings\.json is not JSON \(line 1\): nothing was changed/)
  const json = await home.s2('install', '--agent', 'gemini', '--agent', 'claude', '--json')
  assert.equal(json.code, 1)
  assert.equal(JSON.parse(json.out).length, 1)
  assert.match(JSON.parse(json.err).error.message, /^gemini: /)
  const away = await home.s2('uninstall', '--agent', 'gemini', '--agent', 'claude')
  assert.equal(away.code, 1)
  assert.deepEqual(
    home.files().filter((name) => name.startsWith('.claude')),
    [],
  )
})

test('a wrong name, or an option that is for none of them, is refused before anything is written', async () => {
  const home = new Home()
  for (const wrong of [
    ['--agent', 'claude', '--agent', 'cluade'],
    ['--agent', 'claude', '--agent', 'gemini', '--trust', '--yes'],
    ['--agent', 'codex', '--agent', 'gemini', '--http'],
    ['--agent', 'claude', '--git'],
  ]) {
    const { code, out } = await home.s2('install', ...wrong)
    assert.deepEqual([code, out, home.files()], [64, '', ['project']], wrong.join(' '))
  }
  const mixed = await home.s2('install', '--agent', 'gemini', '--agent', 'claude', '--http')
  assert.equal(mixed.code, 0, mixed.err)
  assert.match(home.get('.claude/settings.json'), /"type": "http"/)
})
