	.file	"<string>"
	.section	.ltext,"axl",@progbits
	.globl	_ZN8__main__4loopB3v15B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE
	.p2align	4
	.type	_ZN8__main__4loopB3v15B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE,@function
_ZN8__main__4loopB3v15B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE:
	.cfi_startproc
	pushq	%r15
	.cfi_def_cfa_offset 16
	pushq	%r14
	.cfi_def_cfa_offset 24
	pushq	%rbx
	.cfi_def_cfa_offset 32
	.cfi_offset %rbx, -32
	.cfi_offset %r14, -24
	.cfi_offset %r15, -16
	movq	184(%rsp), %r11
	testq	%r11, %r11
	jle	.LBB0_17
	movq	256(%rsp), %rax
	movq	200(%rsp), %r9
	movq	144(%rsp), %rcx
	movq	88(%rsp), %rsi
	movq	32(%rsp), %r8
	movabsq	$17179869180, %r10
	cmpq	$1, %r11
	jne	.LBB0_3
	xorl	%edx, %edx
	jmp	.LBB0_10
.LBB0_3:
	movabsq	$9223372036854775806, %rbx
	andq	%r11, %rbx
	xorl	%edx, %edx
	jmp	.LBB0_4
	.p2align	4
.LBB0_24:
	movq	(%rcx), %r14
.LBB0_25:
	movq	%rdx, %r15
	orq	$1, %r15
	addq	$2, %rdx
	movq	%r14, (%rax,%r15,8)
	cmpq	%rbx, %rdx
	je	.LBB0_9
.LBB0_4:
	movq	(%r9,%rdx,8), %r15
	movq	%r15, %r14
	shrq	$6, %r14
	andq	%r10, %r14
	movl	(%r8,%r14), %r14d
	testl	%r14d, %r14d
	jns	.LBB0_5
	movzbl	%r15b, %r15d
	leaq	(%rsi,%r15,4), %r15
	.p2align	4
.LBB0_8:
	notl	%r14d
	shll	$8, %r14d
	movl	(%r15,%r14,4), %r14d
	testl	%r14d, %r14d
	js	.LBB0_8
.LBB0_5:
	testl	%r14d, %r14d
	je	.LBB0_18
	movl	%r14d, %r14d
	decq	%r14
	jmp	.LBB0_19
	.p2align	4
.LBB0_18:
	movq	(%rcx), %r14
.LBB0_19:
	movq	%r14, (%rax,%rdx,8)
	movq	8(%r9,%rdx,8), %r15
	movq	%r15, %r14
	shrq	$6, %r14
	andq	%r10, %r14
	movl	(%r8,%r14), %r14d
	testl	%r14d, %r14d
	jns	.LBB0_22
	movzbl	%r15b, %r15d
	leaq	(%rsi,%r15,4), %r15
	.p2align	4
.LBB0_21:
	notl	%r14d
	shll	$8, %r14d
	movl	(%r15,%r14,4), %r14d
	testl	%r14d, %r14d
	js	.LBB0_21
.LBB0_22:
	testl	%r14d, %r14d
	je	.LBB0_24
	movl	%r14d, %r14d
	decq	%r14
	jmp	.LBB0_25
.LBB0_9:
	testb	$1, %r11b
	je	.LBB0_17
.LBB0_10:
	movq	(%r9,%rdx,8), %r9
	movq	%r9, %r11
	shrq	$6, %r11
	andq	%r10, %r11
	movl	(%r8,%r11), %r8d
	testl	%r8d, %r8d
	jns	.LBB0_13
	movzbl	%r9b, %r9d
	leaq	(%rsi,%r9,4), %rsi
	.p2align	4
.LBB0_12:
	notl	%r8d
	shll	$8, %r8d
	movl	(%rsi,%r8,4), %r8d
	testl	%r8d, %r8d
	js	.LBB0_12
.LBB0_13:
	testl	%r8d, %r8d
	je	.LBB0_15
	movl	%r8d, %ecx
	decq	%rcx
	jmp	.LBB0_16
.LBB0_15:
	movq	(%rcx), %rcx
.LBB0_16:
	movq	%rcx, (%rax,%rdx,8)
.LBB0_17:
	movq	$0, (%rdi)
	xorl	%eax, %eax
	popq	%rbx
	.cfi_def_cfa_offset 24
	popq	%r14
	.cfi_def_cfa_offset 16
	popq	%r15
	.cfi_def_cfa_offset 8
	retq
.Lfunc_end0:
	.size	_ZN8__main__4loopB3v15B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE, .Lfunc_end0-_ZN8__main__4loopB3v15B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE
	.cfi_endproc

