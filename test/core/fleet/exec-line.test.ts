import assert from 'node:assert/strict'
import { test } from 'node:test'
import { programsOf } from '../../../services/core/fleet/exec-line.ts'
import { commandLine } from '../../../services/core/runtime/run-command.ts'

const LINES: readonly (readonly [line: string, programs: readonly string[]])[] = [
  ['claude -p -- "$S2_TASK_DESCRIPTION"', ['claude']],
  ['["claude","-p"]', ['claude']],
  ["sh -c 'claude -p'", ['claude']],
  ['["/bin/bash","-lc","exec /opt/x/codex exec -"]', ['/opt/x/codex']],
  ['cd repo && git pull; MODEL=x exec ./agent.sh | tee log', ['cd', 'git', './agent.sh', 'tee']],
  ['env -u A B=c timeout -k 5 1h claude -p', ['env', 'A', 'timeout', '5', '1h', 'claude']],
  ['["timeout","1h","sh","-c","codex exec -"]', ['timeout', '1h', 'codex']],
  ['npx -y @anthropic-ai/claude-code -p', ['npx', '@anthropic-ai/claude-code']],
  ['sh -c "$S2_TASK_DESCRIPTION"', []],
  ['"$AGENT" -p', []],
]

test('the programs of a command line are those that it names itself', () => {
  for (const [line, programs] of LINES) assert.deepEqual(programsOf(commandLine(line)), programs, line)
})

test('lines that no shell would take are looked at all the same', () => {
  for (const line of ["sh -c 'claude -p", '', '((((', "'", '$(', 'exec exec exec']) programsOf(commandLine(line))
})
