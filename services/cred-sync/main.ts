import { run } from '#runtime/run.ts'
import { program } from './cred-sync.ts'

await run(program)
