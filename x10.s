	.file	"<string>"
	.section	.ltext,"axl",@progbits
	.globl	_ZN8__main__4loopB3v13B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE
	.p2align	4
	.type	_ZN8__main__4loopB3v13B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE,@function
_ZN8__main__4loopB3v13B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	pushq	%r15
	.cfi_def_cfa_offset 24
	pushq	%r14
	.cfi_def_cfa_offset 32
	pushq	%r13
	.cfi_def_cfa_offset 40
	pushq	%r12
	.cfi_def_cfa_offset 48
	pushq	%rbx
	.cfi_def_cfa_offset 56
	subq	$24, %rsp
	.cfi_def_cfa_offset 80
	.cfi_offset %rbx, -56
	.cfi_offset %r12, -48
	.cfi_offset %r13, -40
	.cfi_offset %r14, -32
	.cfi_offset %r15, -24
	.cfi_offset %rbp, -16
	movq	%rdi, 16(%rsp)
	movq	272(%rsp), %r14
	movq	216(%rsp), %rbx
	movq	160(%rsp), %rbp
	movq	104(%rsp), %r12
	movabsq	$NRT_incref, %r15
	movq	%rdx, 8(%rsp)
	movq	%rdx, %rdi
	callq	*%r15
	movq	%r12, %rdi
	callq	*%r15
	movq	%rbp, %rdi
	callq	*%r15
	movq	%rbx, %rdi
	callq	*%r15
	movq	%r14, %rdi
	callq	*%r15
	movabsq	$NRT_decref, %r13
	cmpq	$0, 232(%rsp)
	jle	.LBB0_9
	xorl	%r14d, %r14d
	movabsq	$NRT_incref, %rbx
	jmp	.LBB0_2
	.p2align	4
.LBB0_7:
	movq	192(%rsp), %rax
	movq	(%rax), %r15
.LBB0_8:
	movq	160(%rsp), %rbp
	movq	%rbp, %rdi
	callq	*%r13
	movq	304(%rsp), %rax
	movq	%r15, (%rax,%r14,8)
	incq	%r14
	cmpq	%r14, 232(%rsp)
	movq	104(%rsp), %r12
	je	.LBB0_9
.LBB0_2:
	movq	248(%rsp), %rax
	movq	(%rax,%r14,8), %r15
	movq	%r12, %rdi
	callq	*%rbx
	movq	%rbp, %rdi
	callq	*%rbx
	movq	%r15, %rax
	shrq	$6, %rax
	movabsq	$17179869180, %rcx
	andq	%rcx, %rax
	movq	80(%rsp), %rcx
	movl	(%rcx,%rax), %ebp
	testl	%ebp, %ebp
	js	.LBB0_4
	movq	%r12, %rdi
	callq	*%r13
	testl	%ebp, %ebp
	je	.LBB0_7
	jmp	.LBB0_6
	.p2align	4
.LBB0_4:
	notl	%ebp
	shll	$8, %ebp
	movzbl	%r15b, %eax
	movq	136(%rsp), %rcx
	leaq	(%rcx,%rbp,4), %rcx
	movl	(%rcx,%rax,4), %ebp
	movq	%r12, %rdi
	callq	*%r13
	xorl	%edi, %edi
	callq	*%r13
	testl	%ebp, %ebp
	je	.LBB0_7
.LBB0_6:
	movslq	%ebp, %r15
	decq	%r15
	jmp	.LBB0_8
.LBB0_9:
	movq	8(%rsp), %rdi
	callq	*%r13
	movq	272(%rsp), %rdi
	callq	*%r13
	movq	%r12, %rdi
	callq	*%r13
	movq	%rbp, %rdi
	callq	*%r13
	movq	216(%rsp), %rdi
	callq	*%r13
	movq	16(%rsp), %rax
	movq	$0, (%rax)
	xorl	%eax, %eax
	addq	$24, %rsp
	.cfi_def_cfa_offset 56
	popq	%rbx
	.cfi_def_cfa_offset 48
	popq	%r12
	.cfi_def_cfa_offset 40
	popq	%r13
	.cfi_def_cfa_offset 32
	popq	%r14
	.cfi_def_cfa_offset 24
	popq	%r15
	.cfi_def_cfa_offset 16
	popq	%rbp
	.cfi_def_cfa_offset 8
	retq
.Lfunc_end0:
	.size	_ZN8__main__4loopB3v13B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE, .Lfunc_end0-_ZN8__main__4loopB3v13B44c8tJTIeFIjxB2IKSgI4CrvQCk0Z4yRYcWsBAK4JIagIAE5ArrayIiLi1E1C7mutable7alignedE5ArrayIiLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE5ArrayIxLi1E1C7mutable7alignedE
	.cfi_endproc

